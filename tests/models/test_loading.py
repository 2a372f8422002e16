"""What is saved loads as the same model, and what is no model ends in one clear error."""

import shutil

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from linear_shortcuts.commands.invariants import INVARIANTS, check, notes, sample_tokens
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import has_head, load_model, load_tokenizer, wrap
from linear_shortcuts.settings.devices import choose_device


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_saved_checkpoint_loads_as_the_same_model(family, tmp_path):
    made = tiny.model(family)
    made.network.save_pretrained(tmp_path / "checkpoint")
    if family == "bert":
        _save_bert_tokenizer(tmp_path / "checkpoint")
    loaded = load_model(tmp_path / "checkpoint", device="cpu")
    assert loaded.identity["weights_sha256"] == made.identity["weights_sha256"]
    assert (loaded.mask_token is None) == (family == "gpt2")


def _save_bert_tokenizer(folder):
    import tokenizers as tk
    from transformers import PreTrainedTokenizerFast

    words = {name: number for number, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    PreTrainedTokenizerFast(
        tokenizer_object=tk.Tokenizer(tk.models.WordPiece(words, unk_token="[UNK]")), mask_token="[MASK]"
    ).save_pretrained(folder)


def test_a_missing_checkpoint_and_an_unknown_family_end_in_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="no-such-folder"):
        load_model(tmp_path / "no-such-folder")
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(InputError, match="'t5'.*neither causal nor masked.*gpt2"):
        load_model(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        load_tokenizer(tmp_path / "empty")
    with pytest.raises(InputError, match="--device"):
        choose_device("abacus")


def test_the_fused_activation_is_the_librarys_and_stands_in_its_place(repository):
    from transformers import AutoModelForCausalLM
    from transformers.activations import NewGELUActivation

    folder = repository / "models" / "tiny-gpt2"
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ours = load_model(folder, device="cpu").network
    kinds = [{type(module) for module in network.modules()} for network in (theirs, ours)]
    assert NewGELUActivation in kinds[0]
    assert NewGELUActivation not in kinds[1]
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=2e-5, rtol=1e-5)


def test_the_name_of_a_model_beside_is_answered_with_its_path_and_without_the_hub(tmp_path, monkeypatch):
    (tmp_path / "models" / "own").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for auto in ("AutoConfig", "AutoTokenizer"):
        monkeypatch.setattr(f"transformers.{auto}.from_pretrained", lambda *_, **__: pytest.fail("the hub was asked"))
    for load in (load_model, load_tokenizer):
        with pytest.raises(InputError, match="own is no folder here, but models/own is"):
            load("own")


# --- a masked checkpoint without its head is an encoder, and is never given a random one ------------------------

ENCODERS = ("bert", "roberta", "distilbert", "electra", "modernbert")


@pytest.mark.parametrize("name", ENCODERS)
def test_every_invariant_holds_of_an_encoder(name):
    model = wrap(tiny.architecture(name).network.base_model, name=name)
    assert model.family.headless
    tokens = sample_tokens(model)
    findings = list(check(model, tokens))
    assert [finding.invariant for finding in findings] == list(INVARIANTS)
    unmeasured = {finding.invariant.name for finding in findings if finding.difference is None}
    assert unmeasured == {"decoding", "truncation"}
    assert all(finding.passed for finding in findings), findings
    assert next(iter(notes(model, tokens))).startswith("the model has no prediction head, so no exits")
    with pytest.raises(InputError, match=f"{name} has no prediction head"):
        model.decode(torch.randn(1, model.width))


def test_an_encoder_that_ends_in_a_norm_gives_its_states_after_it():
    model = wrap(tiny.architecture("modernbert").network.base_model)
    ids, layers = torch.arange(5, 12)[None], []
    handle = model.blocks[-1].register_forward_hook(lambda module, args, output: layers.append(output))
    with torch.inference_mode():
        given = model.network(ids).last_hidden_state
        last = layers[0][0] if isinstance(layers[0], tuple) else layers[0]
        torch.testing.assert_close(model.finish(last), given)
        assert not torch.allclose(last, given, atol=0.1)  # the norm does something
    handle.remove()


@pytest.fixture
def saved(tmp_path):
    """A BERT without head, saved as an encoder of sentences is."""
    network = tiny.architecture("bert").network
    network.base_model.save_pretrained(tmp_path / "model")
    tiny.save_tokenizer(tmp_path / "model")  # which has no mask token
    return tmp_path / "model", network


def test_a_checkpoint_without_head_is_loaded_as_an_encoder_with_one_identity(saved, monkeypatch):
    path, network = saved
    model = load_model(path, device="cpu")
    assert (model.family.headless, model.mask_token, model.unused) == (True, None, ())
    assert not has_head(path)
    ids = torch.arange(5, 12)[None]
    torch.testing.assert_close(model.network(ids).last_hidden_state, network.base_model(ids).last_hidden_state)
    torch.manual_seed(7)  # whatever head is made up on loading, nothing of it stays
    assert load_model(path, device="cpu").identity == model.identity


def test_what_the_configuration_calls_it_does_not_matter(saved, tmp_path):
    path, _ = saved
    config = path / "config.json"
    config.write_text(config.read_text().replace('"BertModel"', '"BertForMaskedLM"'))
    assert load_model(path, device="cpu").family.headless


def test_a_head_of_which_a_part_is_missing_is_refused_and_so_is_an_encoder_that_lacks_weights(tmp_path):
    network = tiny.architecture("bert").network
    network.save_pretrained(tmp_path / "whole")
    assert has_head(tmp_path / "whole")
    for name, said in (("cls.predictions.bias", "cls.predictions"), ("bert.embeddings.LayerNorm.bias", "embeddings")):
        path = shutil.copytree(tmp_path / "whole", tmp_path / name)
        weights = load_file(path / "model.safetensors")
        del weights[name]
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=f"lacks .*{said}"):
            load_model(path)
    network.base_model.save_pretrained(tmp_path / "encoder")
    weights = load_file(tmp_path / "encoder" / "model.safetensors")
    del weights["encoder.layer.0.output.LayerNorm.weight"]
    save_file(weights, tmp_path / "encoder" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights, such as .*output\.LayerNorm\.weight"):
        load_model(tmp_path / "encoder")


def test_a_causal_model_needs_its_head(tmp_path):
    network = tiny.architecture("llama").network
    network.base_model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"lacks 1 weights, such as lm_head\.weight"):
        load_model(tmp_path)
