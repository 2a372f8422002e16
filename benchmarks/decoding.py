"""Decoding by the clock: every way of generating the same text, alternately on the same prompts, as ratios.

Reads   a model, its shortcuts (from `linear-shortcuts generate --calibrate`), articles to take prompts from
Writes  OUT, one JSON line a prompt: seconds of each contender; a killed run goes on where it was
        docs/results/decoding.jsonl and the table of docs/PERFORMANCE.md, with --keep

It says whose tokens are those of greedy decoding. Ratios are taken prompt by prompt, between runs side by side; their
median is shown; `--processor-time` counts what one thread used in place of what passed, for cores that are shared.

Example: python benchmarks/decoding.py MODEL.gguf shortcuts articles.jsonl out.jsonl
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from linear_shortcuts.decoding import Shortcuts, check_costs, generate
from linear_shortcuts.files import documents
from linear_shortcuts.models import LanguageModel, load_model, load_tokenizer, pack

PROMPT = 96  # tokens
DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, PAGE = DOCS / "results" / "decoding.jsonl", DOCS / "PERFORMANCE.md"


def prompts(tokenizer: Any, articles: Path, number: int) -> Iterator[tuple[str, list[int]]]:
    """`number` of each kind: prose, every tenth article; code, of Python's textwrap and inspect; prose twice over."""
    lines = articles.read_text(encoding="utf-8").splitlines()[::10]
    prose = [ids for line in lines if len(ids := tokenizer(json.loads(line)["text"])["input_ids"]) >= PROMPT]
    source = "".join(map(inspect.getsource, (textwrap, inspect)))
    code = tokenizer(source, verbose=False)["input_ids"]
    for place in range(number):
        yield "prose", prose[place % len(prose)][:PROMPT]
        yield "code", code[400 * place : 400 * place + PROMPT]
        yield "repetition", prose[place % len(prose)][: PROMPT // 2] * 2


def contenders(
    model: LanguageModel, shortcuts: Shortcuts, costs: list[float], new_tokens: int
) -> dict[str, Callable[[list[int]], tuple[list[int], int]]]:
    """By name, what continues a prompt: new ids, and in how many passes (0: not known)."""

    def library(**options: Any) -> Callable[[list[int]], tuple[list[int], int]]:
        def run(prompt: list[int]) -> tuple[list[int], int]:
            ids = torch.tensor([prompt])
            settings = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "do_sample": False, **options}
            with torch.inference_mode():
                made = model.network.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **settings)
            return made[0, len(prompt) :].tolist(), 0

        return run

    def ours(method: Any, **options: Any) -> Callable[[list[int]], tuple[list[int], int]]:
        def run(prompt: list[int]) -> tuple[list[int], int]:
            [made] = generate(model, [prompt], new_tokens=new_tokens, method=method, shortcuts=shortcuts, **options)
            return made.ids, made.steps

        return run

    return {
        "generate": library(),
        "full": ours("full"),
        "self-speculative": ours("self-speculative", costs=costs),
        "chain": ours("self-speculative", costs=costs, width=1),
        "prompt lookup": library(prompt_lookup_num_tokens=3),
        "assistant_early_exit": library(assistant_early_exit=8),
    }


def interval(values: list[float], resamples: int = 2000) -> tuple[float, float, float]:
    """The median of some prompts, and a bootstrap interval of 95 %."""
    drawn = torch.tensor(values)[torch.randint(len(values), (resamples, len(values)), generator=torch.manual_seed(0))]
    low, high = drawn.quantile(0.5, dim=1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return statistics.median(values), low, high


def fastest(seconds: dict[str, float]) -> float:
    """Of decoding one token a step: the library's and our own, for a leaner loop is no shortcut."""
    return min(seconds[name] for name in ("generate", "full") if name in seconds)


def report(records: list[dict[str, Any]]) -> str:
    """A table: of every kind and contender the ratio of times to the faster of `generate` and `full`, pair by pair."""
    lines = [
        "| prompts | contender | times as fast | 95 % | same tokens | tokens a pass |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    kinds = sorted({record["kind"] for record in records})
    for kind in [*kinds, "all"]:
        some = [record for record in records if kind in (record["kind"], "all")]
        for name in some[0]["seconds"]:
            middle, low, high = interval([fastest(r["seconds"]) / r["seconds"][name] for r in some])
            same = sum(r["same"][name] for r in some)
            passes = [r["tokens"] / r["passes"][name] for r in some if r["passes"][name]]
            held = f"{statistics.mean(passes):.2f}" if passes else ""
            lines.append(
                f"| {kind} | {name} | {middle:.2f} | {low:.2f} to {high:.2f} | {same} of {len(some)} | {held} |"
            )
    return "\n".join(lines)


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a run."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("shortcuts", type=Path)
    parser.add_argument("articles", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--prompts", type=int, default=8, help="of each kind (default: 8)")
    parser.add_argument("--new-tokens", type=int, default=64, help="default: 64")
    parser.add_argument("--without", nargs="*", default=[], help="contenders to leave out, not full")
    parser.add_argument("--keep", action="store_true", help="put what was found into docs/ when all is done")
    parser.add_argument("--processor-time", action="store_true", help="for one thread beside other work")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.processor_time else time.perf_counter
    model, tokenizer = load_model(args.model, device="cpu"), load_tokenizer(args.model)
    pack(model.network)  # of all contenders alike
    shortcuts = Shortcuts.load(args.shortcuts, model)
    costs = check_costs(model, clock=clock)
    print("ms of a check of 1, 2, … tokens:", [round(cost * 1000, 1) for cost in costs], flush=True)
    done = read(args.out) if args.out.exists() else []
    ways = contenders(model, shortcuts, costs, args.new_tokens)
    ways = {name: way for name, way in ways.items() if name not in args.without}
    todo = list(prompts(tokenizer, args.articles, args.prompts))[len(done) :]
    for kind, prompt in tqdm(todo, desc="prompts", disable=None):
        record: dict[str, Any] = {"kind": kind, "tokens": args.new_tokens, "seconds": {}, "same": {}, "passes": {}}
        whole: list[int] = []
        for name, way in ways.items():
            began = clock()
            ids, passes = way(prompt)
            record["seconds"][name], record["passes"][name] = clock() - began, passes
            whole = whole or ids
            record["same"][name] = ids == whole
        done.append(record)
        with args.out.open("a") as out:
            out.write(json.dumps(record) + "\n")
    print(report(done))
    if args.keep:
        shutil.copyfile(args.out, KEPT)
        documents.fill(PAGE, {"decoding": report(read(KEPT))})


if __name__ == "__main__":
    main()
