"""Every family's declaration holds: decoding, sites and stand-ins agree with the model's own forward."""

from dataclasses import replace

import pytest
import tiny
import torch

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.families import stand_in_steps
from linear_shortcuts.models.language_model import CONVENTION
from linear_shortcuts.models.loading import load_model, load_tokenizer
from linear_shortcuts.settings.devices import choose_device
from linear_shortcuts.states.extraction import SequenceRecorder, batches
from linear_shortcuts.states.provenance import check_model
from linear_shortcuts.text.tokens import Tokens


@pytest.fixture(params=tiny.FAMILIES)
def model(request):
    return tiny.model(request.param)


def run(model, ids):
    """States of all layers and attention calls of one unpadded sentence."""
    recorder = SequenceRecorder()
    with torch.inference_mode(), model.watch(recorder):
        model.encode(ids[None], None)
    return recorder


def test_decoding_the_last_layer_gives_the_models_own_logits(model):
    ids = torch.arange(5, 25)
    with torch.inference_mode():
        logits = model.network(input_ids=ids[None]).logits
        decoded = model.decode(run(model, ids).states[-1])
        torch.testing.assert_close(decoded, logits, atol=1e-5, rtol=1e-5)
        if model.family.final_norm:  # positive control: the norm applied twice must show
            norm = model.network.get_submodule(model.family.final_norm)
            twice = model.decode(norm(run(model, ids).states[-1]))
            assert (twice - logits).abs().max() > 1e-3


def test_states_are_the_librarys_hidden_states_before_the_final_norm(model):
    ids = torch.arange(5, 25)
    with torch.inference_mode():
        theirs = model.network(input_ids=ids[None], output_hidden_states=True).hidden_states
    ours = run(model, ids).states
    assert len(ours) == len(theirs) == model.layers + 1
    for own, their in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(own, their, atol=1e-6, rtol=1e-6)
    same_at_the_end = torch.allclose(ours[-1], theirs[-1], atol=1e-6)
    assert same_at_the_end == (model.family.final_norm is None)


def test_a_block_rebuilt_from_its_sub_steps_is_the_genuine_block(model):
    tokens = tiny.tokens(model, 9)
    for batch in batches(tokens, model, 100):
        recorder = SequenceRecorder()
        with torch.inference_mode(), model.watch(recorder):
            model.encode(batch.ids, batch.mask)
            for block in range(model.layers):
                attend = model.attention(block, recorder.calls[block])
                sites = model.sites(block, recorder.states[block], attend)
                assert len(sites) == 7
                torch.testing.assert_close(sites[-1], recorder.states[block + 1], atol=1e-5, rtol=1e-5)


def test_the_exact_matrix_of_a_linear_sub_step_stands_in_for_it_exactly():
    model = tiny.linear_model("gpt2")
    recorder = run(model, torch.arange(5, 25))
    attend = model.attention(1, recorder.calls[1])
    for part in ("attention", "feed_forward"):
        [step] = stand_in_steps(model.family, part)
        block = model.blocks[1]
        matrix = (block.attn if part == "attention" else block.mlp).dense.weight
        replaced = model.sites(1, recorder.states[1], attend, {step: matrix})[-1]
        torch.testing.assert_close(replaced, recorder.states[2], atol=1e-5, rtol=1e-5)
        spoilt = model.sites(1, recorder.states[1], attend, {step: matrix.T})[-1]
        assert (spoilt - recorder.states[2]).abs().max() > 1e-2


def test_watching_leaves_no_hooks_behind_even_after_an_error(model):
    with pytest.raises(ZeroDivisionError), model.watch(SequenceRecorder()):
        raise ZeroDivisionError
    for module in model.network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


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


def test_another_models_artifacts_are_refused_and_both_sides_named():
    one, other = tiny.model("gpt2", seed=0), tiny.model("gpt2", seed=1)
    card = {"model": dict(one.identity), "convention": CONVENTION}
    check_model(card, one, "maps")
    with pytest.raises(InputError) as error:
        check_model(card, other, "maps")
    assert one.identity["weights_sha256"][:12] in str(error.value)
    assert other.identity["weights_sha256"][:12] in str(error.value)
    with pytest.raises(InputError, match="after the norm"):
        check_model({**card, "convention": "h_L after the norm"}, one, "maps")


def test_another_revision_of_the_same_weights_is_refused_and_a_folder_that_knows_none_is_not():
    model = tiny.model("gpt2")
    made_with = {**model.identity, "revision": "0a1b2c"}
    check_model({"model": made_with, "convention": CONVENTION}, model, "maps")
    elsewhere = replace(model, identity={**model.identity, "revision": "main"})
    with pytest.raises(InputError, match=r"at 0a1b2c .* at main "):
        check_model({"model": made_with, "convention": CONVENTION}, elsewhere, "maps")


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


def test_an_empty_batch_of_sentences_gives_no_batches(model):
    assert list(batches(Tokens([], torch.empty(0, dtype=torch.int64)), model, 100)) == []


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
