"""Text as it is found: through tokenization and extraction of both kinds of models, counted where it is left out."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from toy import WORDS, make_study, run_stages, stage

from linear_shortcuts.files import artifacts
from linear_shortcuts.states import shards

KEPT = [
    "x",
    "?",
    "وهذه جملة من اليمين إلى اليسار 12.",
    "שלום עולם, this line turns around.",
    "e\u0301a\u0300o\u0302" + "z" + "\u0301" * 300,  # combining marks, a tower of them
    "नमस्ते दुनिया",
    "四月は君の嘘。",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏿 family",
    "a NUL \0 and a bell \a inside",
    "an escape \x1b[31mred\x1b[0m",
    "zero\u200bwidth\u200djoined\ufeffmark \u202eoverride",
    "private \ue000 and far \U0010ffff and unassigned \u0378",
    "ﬁ ligature, ＦＵＬＬ ｗｉｄｔｈ, ẞ ß İ ı",
    "<|endoftext|> [MASK] [CLS] [PAD] written out",
    "the cat " * 125_000,  # a megabyte
]
NOTHING = ["\u0085", "   ", "\u3000"]  # white space that some readers take for text
ONE_TOKEN_AT_MOST = ["\u200b", "\x01\x02\x03", "\ufffd"]  # the BERT-type normaliser drops them: nothing is left


@pytest.fixture(scope="module")
def wild(tmp_path_factory):
    folder = make_study(tmp_path_factory.mktemp("wild"))
    ordinary = [f"the {WORDS[n % 19]} sees a {WORDS[n % 7]} {n}" for n in range(60)]
    lines = ordinary + KEPT + NOTHING + ONE_TOKEN_AT_MOST + ["", "", ordinary[0]]
    (folder / "text.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["corpora"]["my-text"] |= {"min_characters": 1, "max_characters": 10**7}
    params["sentences"] = {"train": 60 + len(KEPT) + len(ONE_TOKEN_AT_MOST) - 10, "validation": 10}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder, lines, run_stages(folder, "", [stage(1)])


def test_every_line_is_a_sentence_or_counted_as_left_out(wild):
    folder, lines, result = wild
    drawn = artifacts.load(folder / "data/sentences/my-text.pickle")
    sentences = drawn["train"] + drawn["validation"]
    assert sorted(sentences) == sorted({line.strip() for line in lines} - {""})
    assert sentences.count("the the sees a the 0") == 1, "no byte-order mark, no carriage return"
    assert "left out: 5 empty, 1 repeated" in result.stdout


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_whatever_was_read_is_tokenized_and_recorded(wild, kind, tmp_path):
    folder, lines, _ = wild
    shutil.copytree(folder, tmp_path / "run")
    result = run_stages(tmp_path / "run", f"toy-{kind}", [stage(3), stage(4)])
    pattern = r"(\d+) (\w+) sentences, [\d,]+ tokens \((\d+) cut at \d+, (\d+) without a token to sample left out\)"
    said = re.findall(pattern, result.stdout)
    number = sum(int(kept) for kept, *_ in said)
    cut, skipped = (sum(int(row[column]) for row in said) for column in (2, 3))
    assert number + skipped == len({line.strip() for line in lines} - {""})
    assert cut >= 1, "the megabyte at least"
    assert skipped >= (2 if kind == "bert" else 0)
    for split, count in ((name, int(kept)) for kept, name, *_ in said):
        states = shards.HiddenStates.open(tmp_path / f"run/data/toy-{kind}/my-text/hidden_{split}").stack()
        assert states.shape[1] == count
        assert torch.isfinite(states).all()


def change_tokenizer(folder, change):
    for name in ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
        if (folder / name).exists():
            content = json.loads((folder / name).read_text())
            change(content)
            (folder / name).write_text(json.dumps(content))


def test_a_tokenizer_without_a_pad_token_makes_no_difference(wild, tmp_path):
    states = {}
    for name in ("with", "without"):
        folder = tmp_path / name
        shutil.copytree(wild[0], folder)
        if name == "without":
            change_tokenizer(folder / "gpt2", lambda content: content.pop("pad_token", None))
            config = json.loads((folder / "gpt2/config.json").read_text())
            (folder / "gpt2/config.json").write_text(json.dumps(config | {"pad_token_id": None}))
        run_stages(folder, "toy-gpt2", [stage(3), stage(4)])
        states[name] = shards.HiddenStates.open(folder / "data/toy-gpt2/my-text/hidden_train").stack()
    assert torch.equal(states["with"], states["without"])


def test_a_masked_model_without_a_mask_token_is_refused_in_one_line(wild, tmp_path):
    shutil.copytree(wild[0], tmp_path / "run")
    change_tokenizer(tmp_path / "run/bert", lambda content: content.pop("mask_token", None))
    result = subprocess.run(
        [sys.executable, stage(3), "--model", "toy-bert"], cwd=tmp_path / "run", capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "tokenizer has no mask token" in result.stderr.splitlines()[-1]
