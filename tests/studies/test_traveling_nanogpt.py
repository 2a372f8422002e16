"""Checkpoints of nanoGPT: the converted model against the forward pass that nanoGPT defines, and probes in one call."""

import math
import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from linear_shortcuts import InputError, load_model, load_tokenizer
from traveling_words.nanogpt import load_network, load_tokenizer as load_characters
from traveling_words.probing import probe_block
from traveling_words.subject import subject_of

STUDY = Path(__file__).resolve().parents[2] / "studies" / "traveling_words"
CHARACTERS = "\n abcdefghij"
SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 16, "vocab_size": 12, "dropout": 0.1}


def checkpoint(bias, compiled=False):
    """What nanoGPT's train.py saves, with random weights."""
    torch.manual_seed(0)
    d = SHAPE["n_embd"]
    shapes = {"transformer.wte.weight": (12, d), "transformer.wpe.weight": (16, d), "transformer.ln_f.weight": (d,)}
    for block in range(SHAPE["n_layer"]):
        own = {"ln_1": (d,), "attn.c_attn": (3 * d, d), "attn.c_proj": (d, d)}
        own |= {"ln_2": (d,), "mlp.c_fc": (4 * d, d), "mlp.c_proj": (d, 4 * d)}
        shapes |= {f"transformer.h.{block}.{name}.weight": shape for name, shape in own.items()}
    if bias:
        shapes |= {name.replace(".weight", ".bias"): shape[:1] for name, shape in list(shapes.items())[2:]}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16).tril()  # the mask, where attention is not fused
    if compiled:
        weights = {f"_orig_mod.{name}": weight for name, weight in weights.items()}
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {"model": weights, "optimizer": optimizer, "model_args": {**SHAPE, "bias": bias}, "iter_num": 1}


def forward(weights, ids):
    """Logits (n, V) as nanoGPT's model.py defines them, for weights by their names, in double precision."""
    w = {name.removeprefix("_orig_mod."): weight.double() for name, weight in weights.items()}
    d, heads, n = SHAPE["n_embd"], SHAPE["n_head"], len(ids)

    def normed(x, name):
        return F.layer_norm(x, (d,), w[f"{name}.weight"], w.get(f"{name}.bias"), 1e-5)

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][:n]
    for block in range(SHAPE["n_layer"]):
        at = f"transformer.h.{block}"
        query, key, value = (
            part.reshape(n, heads, -1).transpose(0, 1)
            for part in linear(normed(x, f"{at}.ln_1"), f"{at}.attn.c_attn").split(d, -1)
        )
        scores = query @ key.mT / math.sqrt(d // heads) + torch.full((n, n), -torch.inf).triu(1)
        x = x + linear((scores.softmax(-1) @ value).transpose(0, 1).reshape(n, d), f"{at}.attn.c_proj")
        x = x + linear(F.gelu(linear(normed(x, f"{at}.ln_2"), f"{at}.mlp.c_fc")), f"{at}.mlp.c_proj")
    return normed(x, "transformer.ln_f") @ w["lm_head.weight"].T


@pytest.fixture
def saved(tmp_path):
    torch.save(checkpoint(bias=False), tmp_path / "ckpt.pt")
    stoi = {character: number for number, character in enumerate(CHARACTERS)}
    meta = {"vocab_size": 12, "stoi": stoi, "itos": {number: character for character, number in stoi.items()}}
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(meta))
    return tmp_path


@pytest.mark.parametrize(("bias", "compiled"), [(True, False), (False, True)])
def test_a_checkpoint_of_nanogpt_gives_nanogpts_logits(tmp_path, bias, compiled):
    one = checkpoint(bias, compiled)
    torch.save(one, tmp_path / "ckpt.pt")
    network = load_network(tmp_path / "ckpt.pt")
    ids = torch.tensor([1, 5, 0, 11, 3, 3, 7])
    with torch.inference_mode():
        ours = network(ids[None]).logits[0]
    expected = forward(one["model"], ids)
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=1e-4)
    assert expected.std() > 1
    network.config.activation_function = "gelu_new"  # control: the other GELU is told apart
    other = type(network)(network.config).eval()
    other.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert (other(ids[None]).logits[0].double() - expected).abs().max() > 1e-4


def test_every_character_is_a_token_and_another_one_is_refused(saved):
    tokenizer = load_characters(saved / "meta.pkl")
    text = "a b\ncab  j"
    ids = tokenizer(text)["input_ids"]
    assert ids == [CHARACTERS.index(character) for character in text]
    assert tokenizer.decode(ids) == text
    subject = subject_of(converted(saved), tokenizer)
    assert subject.phrase(text).tolist() == ids
    with pytest.raises(InputError, match=r"^trajectory.phrase is 'a z', but the tokenizer"):
        subject.phrase("a z")


def converted(folder):
    load_network(folder / "ckpt.pt").save_pretrained(folder / "model")
    return load_model(folder / "model", device="cpu")


def test_the_script_writes_a_folder_that_everything_here_reads(saved, monkeypatch, capsys):
    script = STUDY / "convert_nanogpt.py"
    arguments = ["ckpt.pt", "--meta", "meta.pkl", "--to", "made"]
    monkeypatch.chdir(saved)
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")
    assert "2 blocks of width 8, 12 tokens, in made" in capsys.readouterr().out
    model, tokenizer = load_model("made", device="cpu"), load_tokenizer("made")
    ids = torch.tensor(tokenizer("a bad\nface")["input_ids"])
    with torch.inference_mode():
        ours = model.network(ids[None]).logits[0]
    expected = forward(torch.load("ckpt.pt")["model"], ids)
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=1e-4)
    (saved / "nouns.txt").write_text("a\nb\nbad\n")
    probe = probe_block(saved / "made", 1, nouns=saved / "nouns.txt", pairs=2, k=3)
    assert {row["noun"] for row in probe.keys} == {"a", "b"}
    with pytest.raises(SystemExit) as ended:  # nothing of a user's is written over
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 2
    assert "made holds config.json, which would be lost" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda saved: saved.pop("model_args"), "has no `model` and `model_args`"),
        (lambda saved: saved["model_args"].pop("n_head"), "`model_args` lacks n_head"),
        (lambda saved: saved["model_args"].update(n_layer=3), "has none for transformer.h.2.attn.c_attn.weight where"),
        (lambda saved: saved["model_args"].update(vocab_size=13), r"has \(12, 8\) for lm_head.weight where its"),
        (lambda saved: saved["model_args"].update(vocab_size=10**12), "where its `model_args` say"),  # 30 TB
        (lambda saved: saved["model_args"].update(n_head=3), "claims 2 blocks of width 8 with 3 heads"),
        (lambda saved: saved["model_args"].update(n_layer=10**6), "claims 1,000,000 blocks"),
        (lambda saved: saved.update(model_args=None), "`model_args` holds None, not a mapping"),
        (lambda saved: saved.update(model=[1]), "`model` holds a list, not a mapping"),
        (lambda saved: saved["model"].update({"transformer.ln_f.weight": 1}), "no weights in transformer.ln_f.weight"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, change, problem):
    one = checkpoint(bias=True)
    change(one)
    torch.save(one, tmp_path / "ckpt.pt")
    with pytest.raises(InputError, match=problem) as refused:
        load_network(tmp_path / "ckpt.pt")
    assert "\n" not in str(refused.value)


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({**checkpoint(bias=True), "config": Hostile()}, tmp_path / "ckpt.pt")
    with pytest.raises(InputError, match="ckpt.pt"):
        load_network(tmp_path / "ckpt.pt")
    for table, problem in (
        ({"ab": 0}, "more than single characters"),
        ({"a": 0, "b": 5}, "does not number"),
        ({"a": "0"}, "does not number"),
    ):
        (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"stoi": table}))
        with pytest.raises(InputError, match=problem):
            load_characters(tmp_path / "meta.pkl")


def test_one_call_probes_a_block_and_says_of_every_token_its_text_and_its_id(repository):
    probe = probe_block(repository / "models" / "tiny-gpt2", 5, heads=[1, 3], pairs=4, k=3)
    subject = subject_of(
        load_model(repository / "models" / "tiny-gpt2", device="cpu"),
        load_tokenizer(repository / "models" / "tiny-gpt2"),
    )
    assert len(probe.keys) == 25 * 2
    assert len(probe.values) == 25 * 3
    assert len(probe.singular) == 2 * 2 * 4
    assert len(probe.biases) == 2 * 4
    columns = ((probe.keys, "keys"), (probe.values, "values"), (probe.singular, "left"), (probe.singular, "right"))
    for table, name in (*columns, (probe.biases, "tokens")):
        for row in table:
            assert len(row[name]) == 3
            assert row[name] == [subject.vocabulary.text(token) for token in row[f"{name}_ids"]]
    for wrong, problem in (
        ({"block": 6}, "block is 6; .*tiny-gpt2 has blocks 0 to 5"),
        ({"block": 0, "heads": [4]}, r"heads is \[4\]; block 0"),
    ):
        with pytest.raises(InputError, match=problem):
            probe_block(subject, **wrong)
