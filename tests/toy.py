"""A toy study: two tiny checkpoints and a text file in a folder, and the stage scripts run on them."""

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from linear_shortcuts.settings.params import read_params
from linear_shortcuts.training.loop import new_model
from linear_shortcuts.training.tokenizers import train_tokenizer

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = sorted((REPOSITORY / "stages").glob("[0-9]*.py"))
WORDS = ["the", "cat", "dog", "tree", "house", "river", "runs", "sees", "finds", "likes",
         "a", "small", "big", "old", "red", "blue", "quickly", "now", "here"]  # fmt: skip

# A user's environment: the hub is not switched off, and would be told who asks.
SECRET = "hf_doNotTellThisToAnybody0123456789"
OF_A_USER = {"HF_HUB_OFFLINE": None, "HF_TOKEN": SECRET, "HF_HUB_VERBOSITY": "debug"}

# Runs stages one after the other in one process, without network.
DRIVER = """
import os, runpy, socket, sys
def refuse(*args, **kwargs):
    raise globals().get("REFUSED", AssertionError)("a stage opened a connection")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
model = sys.argv[1]
for stage in sys.argv[2:]:
    sys.argv = [stage] + ([] if "01_" in stage else ["--model", model])
    runpy.run_path(stage, run_name="__main__")
"""


def make_checkpoint(folder: Path, kind: str, sentences: list[str]) -> None:
    settings = replace(
        read_params(REPOSITORY / "params.yaml").training[f"tiny-{kind}"], layers=2, width=16, heads=2, vocabulary=300
    )
    tokenizer = train_tokenizer(settings, sentences)
    new_model(settings, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_study(folder: Path) -> Path:
    """Fill a folder with params.yaml, a text file and two tiny checkpoints; nothing has run yet."""
    generator = torch.Generator().manual_seed(0)
    picks = torch.randint(len(WORDS), (400, 12), generator=generator).tolist()
    sentences = [" ".join(WORDS[i] for i in row[: 3 + row[0] % 10]) + f" {number}." for number, row in enumerate(picks)]
    (folder / "text.txt").write_text("\n".join(sentences))
    for kind in ("gpt2", "bert"):
        make_checkpoint(folder / kind, kind, sentences)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["models"] = ["toy-gpt2", "toy-bert"]
    params["corpus"] = "my-text"
    params["corpora"]["my-text"]["path"] = "text.txt"
    params["sentences"] = {"train": 200, "validation": 60}
    params["extract"] = {
        "positions": "sampled",
        "precision": "float32",
        "tokens_per_batch": 256,
        "sentences_per_shard": 30,
    }
    params["exits"] = {"sentences_per_chunk": 25, "part_sentences": None, "part_layers": 12}
    params["registry"] |= {f"toy-{kind}": {"path": kind, "revision": None} for kind in ("gpt2", "bert")}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def run_stages(folder, model, stages, expect=0, before="", **environment):
    """Run stages without network, after the code `before`; a variable of the environment set to None is taken out."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", **environment}
    result = subprocess.run(
        [sys.executable, "-c", before + DRIVER, model, *map(str, stages)],
        cwd=folder, capture_output=True, text=True,
        env={name: value for name, value in environment.items() if value is not None},
    )  # fmt: skip
    assert expect is None or result.returncode == expect, result.stderr
    return result


def run_here(folder, model, stages, *options):
    """Run stages in this process, which has torch loaded already; an `InputError` comes through as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for path in stages:
            patch.setattr(
                sys, "argv", [str(path)] + ([] if path.name.startswith("01_") else ["--model", model, *options])
            )
            runpy.run_path(str(path))["main"]()


def stage(number):
    return next(path for path in STAGES if path.name.startswith(f"{number:02d}_"))


ALL = [stage(number) for number in (1, 3, 4, 5, 6, 7, 8, 9, 10)]


def artifacts_of(folder):
    roots = [folder / name for name in ("data", "linreg", "plots", "metrics")]
    paths = [path for root in roots for path in root.rglob("*") if path.is_file() and ".work" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
