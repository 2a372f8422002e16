"""What is saved loads as the same model, and what is no model ends in one clear error."""

import pytest
import tiny
import torch

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import load_model, load_tokenizer
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
