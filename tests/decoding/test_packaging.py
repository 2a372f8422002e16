"""A packaged checkpoint: loaded by transformers alone, from a folder, it gives its greedy tokens in fewer passes."""

import re
import sys

import decoders
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from linear_shortcuts.decoding import calibrate, package
from linear_shortcuts.files import InputError

ROWS = torch.randint(5, 90, (24, 20), generator=torch.Generator().manual_seed(3))
IDS = torch.tensor([decoders.PROMPT])
HOW = {"max_new_tokens": 16, "do_sample": False}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A checkpoint that holds its own way to generate, and the tokens it gives without."""
    folder = tmp_path_factory.mktemp("packed") / "tiny-llama"
    model = tiny.architecture("llama")
    model.network.generation_config.eos_token_id = None
    model.network.save_pretrained(folder)
    package(model, calibrate(model, ROWS, draft_levels=2), folder)
    return folder, model, model.network.generate(IDS, **HOW)


def test_transformers_alone_loads_it_and_the_tokens_are_the_same(packed, monkeypatch, tmp_path):
    folder, model, wanted = packed
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    network = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    passes = []
    handle = network.model.layers[-1].self_attn.register_forward_hook(lambda *call: passes.append(1))
    assert torch.equal(network.generate(IDS, **HOW), wanted)
    handle.remove()
    assert len(passes) <= 1 + 16
    loaded = [name for name in sys.modules if name.endswith("custom_generate.speculation")]
    assert any("transformers_modules" in name for name in loaded)
    with pytest.raises(ValueError, match="one prompt without padding"):
        network.generate(IDS.repeat(2, 1), **HOW)
    with pytest.raises(ValueError, match="tokens are not drawn here"):
        network.generate(IDS, max_new_tokens=4, do_sample=True)
    network.generation_config.eos_token_id = stop = int(wanted[0, IDS.shape[1] + 2])
    assert (
        network.generate(IDS, **HOW)[0].tolist().index(stop, IDS.shape[1]) == network.generate(IDS, **HOW).shape[1] - 1
    )


def test_what_travels_names_nothing_of_ours(packed):
    folder = packed[0] / "custom_generate"
    sources = list(folder.glob("*.py"))
    assert len(sources) == 8
    for source in sources:
        imported = re.findall(r"^\s*(?:from|import) (\S+)", source.read_text(encoding="utf-8"), re.MULTILINE)
        assert not any(name.startswith("linear_shortcuts") for name in imported)
        assert all((folder / f"{name[1:]}.py").exists() for name in imported if name.startswith("."))


def test_it_is_written_once_and_beside_a_checkpoint(packed, tmp_path):
    folder, model, _ = packed
    shortcuts = calibrate(model, ROWS, draft_levels=1)
    with pytest.raises(InputError, match="is there already; remove it first"):
        package(model, shortcuts, folder)
    with pytest.raises(InputError, match=r"has no config\.json"):
        package(model, shortcuts, tmp_path)
