"""A model that is one GGUF file: its weights exactly, its identity, its tokenizer, one line for each thing wrong."""

import importlib.util
import re
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from toy import ALL, WORDS

from linear_shortcuts.files import artifacts
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models import gguf_files
from linear_shortcuts.models.loading import load_config, load_model, load_registered, load_tokenizer
from linear_shortcuts.settings.params import Model, read_params

pytest.importorskip("gguf", reason="of the extra gguf")
import gguf_models


@pytest.mark.parametrize(("kind", "types"), [("Q8_0", "Q8_0, F32"), ("Q4_1", "Q4_1, F32")])
def test_weights_are_the_files_dequantised_and_the_identity_names_file_and_types(kind, types, tmp_path):
    file = tmp_path / "tiny.gguf"
    held = gguf_models.write(file, kind)
    model = load_model(file, device="cpu")
    found = model.network.state_dict()
    assert found.keys() == held.keys()
    for name, weight in held.items():
        assert torch.equal(found[name], weight), name
    assert model.identity["gguf"] == {"file_sha256": artifacts.file_sha256(file), "quantisation": types}
    assert model.identity["id"] == str(file)
    assert not {"quantization_config", "_model_name_or_path"} & model.identity["config"].keys()
    model.network.save_pretrained(tmp_path / "plain")  # an ordinary checkpoint from then on
    again = load_model(tmp_path / "plain", device="cpu")
    assert again.identity["weights_sha256"] == model.identity["weights_sha256"]


def test_folder_and_file_name_the_same_model_and_dtype_is_as_asked(tmp_path):
    gguf_models.write(tmp_path / "tiny.gguf")
    entry = Model(path=str(tmp_path), revision=None, gguf_file="tiny.gguf", dtype="bfloat16")
    model = load_registered(entry, "tiny", "cpu")
    assert model.identity["id"] == f"{tmp_path}/tiny.gguf"
    assert model.identity["dtype"] == "bfloat16"
    assert load_model(tmp_path, gguf_file="tiny.gguf", device="cpu").name == f"{tmp_path}/tiny.gguf"


def test_the_tokenizer_is_the_files(tmp_path):
    gguf_models.write(tmp_path / "tiny.gguf")
    tokenizer = load_tokenizer(tmp_path / "tiny.gguf")
    assert tokenizer.convert_ids_to_tokens(tokenizer("cat the", add_special_tokens=False).input_ids) == ["cat", "Ġthe"]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|start|>", "<|end|>")


@pytest.mark.parametrize(
    ("pre", "tokens"), [("smollm", ["cat", "ĠĠ", "1", "2", "Ġthe"]), ("gpt-2", ["cat", "Ġ", "Ġ", "12", "Ġthe"])]
)
def test_text_is_cut_as_the_file_says_its_vocabulary_was_made(pre, tokens, tmp_path):
    # As llama.cpp cuts it: digits first, each alone, what stands between them by GPT-2's pattern.
    gguf_models.write(tmp_path / "tiny.gguf", pre=pre)
    tokenizer = load_tokenizer(tmp_path / "tiny.gguf")
    assert tokenizer.tokenize("cat  12 the") == tokens


def cut(file):
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])


def test_a_name_that_is_none_cuts_as_the_library_does(monkeypatch):
    said = SimpleNamespace(fields={"tokenizer.ggml.pre": SimpleNamespace(contents=lambda: ["smollm"])})
    monkeypatch.setattr(gguf_files, "_file", lambda *_: "")
    monkeypatch.setattr(gguf_files, "_reader", lambda _: said)
    tokenizer = SimpleNamespace()
    gguf_files.cut_as_trained(tokenizer, "x.gguf", None)
    assert vars(tokenizer) == {}


def test_each_thing_wrong_ends_in_one_line(tmp_path, monkeypatch):
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    gguf_models.write(good)
    bad.write_bytes(b"no model at all")
    with pytest.raises(InputError, match=r"cannot load .*bad\.gguf as a GGUF file: "):
        load_model(bad)
    gguf_models.write(bad, architecture="abacus")
    with pytest.raises(InputError, match=r"bad\.gguf as a GGUF file: .*abacus"):
        load_config(bad)
    gguf_models.write(bad, tokenizer=False)
    with pytest.raises(InputError, match=r"bad\.gguf"):
        load_tokenizer(bad)
    cut(good)
    with pytest.raises(InputError, match=r"good\.gguf as a GGUF file: "):
        load_model(good)
    with pytest.raises(InputError, match=r"missing\.gguf does not exist"):
        load_model(tmp_path / "missing.gguf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=re.escape("takes gguf; pip install 'linear-shortcuts[gguf]'")):
        load_model(good)


def test_a_file_of_the_hub_is_told_from_one_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gguf_files.split("owner/name/some/model.gguf") == ("owner/name", "some/model.gguf")
    (tmp_path / "owner").mkdir()
    for path in ("owner/name/model.gguf", "model.gguf"):
        with pytest.raises(InputError, match="does not exist"):
            gguf_files.split(path)


def test_the_whole_pipeline_runs_on_a_gguf_file(tmp_path, repository, monkeypatch):
    gguf_models.write(tmp_path / "tiny.gguf")
    picks = torch.randint(len(WORDS), (90, 6), generator=torch.Generator().manual_seed(0)).tolist()
    (tmp_path / "text.txt").write_text(
        "\n".join(" ".join(WORDS[i] for i in row) + f" {n}." for n, row in enumerate(picks))
    )
    params = yaml.safe_load((repository / "params.yaml").read_text())
    params |= {"corpus": "my-text", "sentences": {"train": 60, "validation": 20}}
    params["corpora"]["my-text"]["path"] = "text.txt"
    params["bootstrap"]["resamples"] = 20
    params["registry"]["tiny"] = {"path": ".", "revision": None, "gguf_file": "tiny.gguf"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert read_params(tmp_path / "params.yaml").model("tiny").checkpoint == "./tiny.gguf"
    monkeypatch.chdir(tmp_path)
    for stage in ALL:
        monkeypatch.setattr(sys, "argv", [str(stage), *(() if "01_" in stage.name else ("--model", "tiny"))])
        runpy.run_path(str(stage), run_name="__main__")
    card = artifacts.load_json(tmp_path / "linreg/tiny/my-text/layers/card.json")
    assert card["model"]["gguf"]["quantisation"] == "Q4_1, F32"
    assert card["tokenizer"]["id"] == "./tiny.gguf"
    assert len(list((tmp_path / "plots/tiny/my-text/figures").iterdir())) == 10


def test_a_scope_reads_a_file_once_for_model_and_tokenizer_and_leaves_the_package_as_it_was(tmp_path, monkeypatch):
    import gguf

    file, opened = tmp_path / "tiny.gguf", []
    gguf_models.write(file)

    class Counting(gguf.GGUFReader):
        def __init__(self, path):
            opened.append(str(path))
            super().__init__(path)

    monkeypatch.setattr(gguf, "GGUFReader", Counting)
    alone = load_model(file, device="cpu")
    assert opened == [str(file)]
    before = dict(vars(gguf))
    with gguf_files.opened_once(file):
        model, tokenizer = load_model(file, device="cpu"), load_tokenizer(file)
    assert opened == [str(file)] * 2
    assert dict(vars(gguf)) == before
    assert model.identity == alone.identity
    assert tokenizer.get_vocab() == load_tokenizer(file).get_vocab()
    gguf_models.write(file, "Q8_0", pre="smollm")  # another file of that name, read anew
    assert load_model(file, device="cpu").identity["gguf"] != alone.identity["gguf"]
