"""A folder of sentence-transformers: what that library makes of it is what there was in memory."""

import json
import os

import pytest
import tiny
import torch

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import load_model, load_tokenizer, wrap
from linear_shortcuts.shorten import encoders
from linear_shortcuts.shorten.encoder_layouts import max_tokens_of, save_encoder

TEXTS = ["w5 w6 w7", "w9", "w8 w8 w6 w30 w31 w9 w22 w14"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = wrap(tiny.architecture("bert").network.base_model, name="encoder")
    folder = tmp_path_factory.mktemp("encoder")
    tiny.save_tokenizer(folder / "tokenizer")
    tokenizer = load_tokenizer(folder / "tokenizer")
    tokenizer.pad_token = "w0"
    parts = {
        name: tiny.tokens(model, number, seed=number) for name, number in (("fit", 80), ("choose", 20), ("report", 30))
    }
    made = encoders.exit_encoder(model, parts, 2, max_tokens=16, work=folder / "unfinished")
    return made, save_encoder(made, folder / "short", tokenizer, of="the original", text="random tokens"), tokenizer


def test_sentence_transformers_gives_the_embeddings_that_there_were_in_memory(saved, monkeypatch):
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    library = pytest.importorskip("sentence_transformers", reason="pip install sentence-transformers")
    made, folder, tokenizer = saved
    loaded = library.SentenceTransformer(str(folder), device="cpu")
    theirs = torch.from_numpy(loaded.encode(TEXTS))
    ours = torch.cat(
        [
            encoders.embed(made.model, made.dense, ids[None], None)
            for ids in encoders.read(tokenizer, TEXTS, 16).sentences
        ]
    )
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)
    assert loaded.max_seq_length == 16
    assert theirs.norm(dim=1).sub(1).abs().max() < 1e-5


def test_the_folder_says_what_it_is_and_can_be_loaded_here(saved):
    made, folder, _ = saved
    card = (folder / "README.md").read_text()
    for said in (
        "blocks of the original",
        "random tokens",
        f"{made.report['shorter']['cosine']:.3f} [",
        "SentenceTransformer",
    ):
        assert said in card
    assert json.loads((folder / "shortened.json").read_text())["report"] == made.report
    assert load_model(folder, device="cpu").layers == 2


def write(folder, kinds, pooling):
    folder.mkdir(exist_ok=True)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modules = [{"idx": n, "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 77}')
    return str(folder)


def test_an_encoder_by_the_mean_is_known_and_others_are_refused(tmp_path, saved):
    usual = ["Transformer", "Pooling", "Normalize"]
    assert max_tokens_of(write(tmp_path / "a", usual, {"pooling_mode_mean_tokens": True}), None) == 77
    assert max_tokens_of(write(tmp_path / "a", usual, {"pooling_mode": "mean"}), None) == 77
    (tmp_path / "plain").mkdir()
    assert max_tokens_of(str(tmp_path / "plain"), None) is None
    for kinds, pooling in (
        (usual, {"pooling_mode_cls_token": True}),
        (usual, {"pooling_mode": "cls"}),
        (usual[:2], {}),
    ):
        with pytest.raises(InputError, match="give an encoder by Transformer, Pooling"):
            max_tokens_of(write(tmp_path / "b", kinds, pooling), None)
    with pytest.raises(InputError, match="Dense"):  # one that was shortened already
        max_tokens_of(str(saved[1]), None)
    for content, said in (("{", "not valid JSON"), ('{"a": 1}', "not a list"), ("[1]", "must be a mapping")):
        (tmp_path / "b" / "modules.json").write_text(content)
        with pytest.raises(InputError, match=said):
            max_tokens_of(str(tmp_path / "b"), None)


def test_nothing_is_written_over(saved):
    made, folder, tokenizer = saved
    with pytest.raises(InputError, match="is there already"):
        save_encoder(made, folder, tokenizer, of="a", text="b")
