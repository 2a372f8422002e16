"""Decoding by the clock: every way of generating the same text, alternately on the same prompts, as ratios.

Reads   a model, its shortcuts (from `linear-shortcuts generate --calibrate`), articles to take prompts from
Writes  OUT, one JSON line a prompt: seconds of each contender; a killed run goes on where it was
        OUT with .apart for its suffix: what checks, guesses and the reading of a prompt cost by themselves
        docs/results/decoding.json, the tables of docs/PERFORMANCE.md and its figure, with --keep

It says whose tokens are those of greedy decoding. Ratios are taken prompt by prompt, between runs side by side; their
median is shown; `--processor-time` counts what one thread used in place of what passed, for cores that are shared.

Example: python benchmarks/decoding.py MODEL.gguf shortcuts articles.jsonl out.jsonl
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from linear_shortcuts.decoding import Shortcuts, check_costs, generate
from linear_shortcuts.decoding.costs import guess_cost
from linear_shortcuts.decoding.shortcuts import stack_of
from linear_shortcuts.decoding.stack import new_cache
from linear_shortcuts.files import documents
from linear_shortcuts.models import LanguageModel, load_model, load_tokenizer, pack
from linear_shortcuts.scores.tables import markdown

PROMPT = 96  # tokens
DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, PAGE, FIGURES = DOCS / "results" / "decoding.json", DOCS / "PERFORMANCE.md", DOCS / "figures" / "decoding"
OURS = ("self-speculative", "chain", "self-speculative, lookup")
KINDS = ("prose", "code", "repetition")


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
    model: LanguageModel, shortcuts: Shortcuts, costs: list[float], new_tokens: int, assistant: Path | None
) -> dict[str, Callable[[list[int]], tuple[list[int], int, int]]]:
    """By name, what continues a prompt: new ids, in how many passes, with how many guesses checked (0: not known)."""

    def library(**options: Any) -> Callable[[list[int]], tuple[list[int], int, int]]:
        def run(prompt: list[int]) -> tuple[list[int], int, int]:
            ids = torch.tensor([prompt])
            settings = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "do_sample": False, **options}
            with torch.inference_mode():
                made = model.network.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **settings)
            return made[0, len(prompt) :].tolist(), 0, 0

        return run

    def ours(method: Any, **options: Any) -> Callable[[list[int]], tuple[list[int], int, int]]:
        def run(prompt: list[int]) -> tuple[list[int], int, int]:
            [made] = generate(model, [prompt], new_tokens=new_tokens, method=method, shortcuts=shortcuts, **options)
            return made.ids, made.steps, made.drafted

        return run

    exported = {}
    if assistant is not None:
        shorter = load_model(assistant, device="cpu").network
        exported["exported exit as assistant"] = library(assistant_model=shorter)
    return {
        "generate": library(),
        "full": ours("full"),
        "self-speculative": ours("self-speculative", costs=costs),
        "chain": ours("self-speculative", costs=costs, width=1),
        "self-speculative, lookup": ours("self-speculative", costs=costs, lookup=True),
        "prompt lookup": library(prompt_lookup_num_tokens=3),
        "assistant_early_exit": library(assistant_early_exit=8),
        **exported,
    }


@torch.inference_mode()
def costs_apart(model: LanguageModel, shortcuts: Shortcuts, clock: Callable[[], float]) -> dict[str, Any]:
    """Seconds, each measured by itself: checks of 1, 2, … tokens, all but the check of a pass, reading a prompt."""
    checks, stack, read = check_costs(model, clock=clock), stack_of(model), []
    for _ in range(9):
        began = clock()
        calls = stack.prepare(torch.arange(PROMPT)[None], 0)
        stack.decode(stack.run(calls, calls.states, 0, stack.layers, new_cache())[0, -1])
        read.append(clock() - began)
    weights = {
        "blocks": sum(p.numel() for block in model.blocks for p in block.parameters()),
        "head": model.vocabulary * model.width,
        "guess": sum(a.weight.numel() for name, a in shortcuts.maps.items() if name.startswith("draft."))
        + shortcuts.drafts * len(shortcuts.short_list) * model.width,
        "levels": shortcuts.drafts,
    }
    guess = guess_cost(model, shortcuts, checks, clock=clock)
    return {"checks": checks, "guess": guess, "read": statistics.median(read), "weights": weights}


@torch.inference_mode()
def tied(model: LanguageModel, prompt: list[int], ids: list[int], whole: list[int]) -> bool:
    """Whether two texts part at a near tie: where the logits of the two tokens differ by less than twice what those of
    a chunk and of a single step do."""
    place = next(n for n, (one, other) in enumerate(zip(ids, whole, strict=True)) if one != other)
    known = torch.tensor([[*prompt, *whole[:place]]])
    chunk = model.network(input_ids=known).logits[0, -1]
    past = model.network(input_ids=known[:, :-1], use_cache=True).past_key_values
    single = model.network(input_ids=known[:, -1:], past_key_values=past).logits[0, -1]
    return bool((single[ids[place]] - single[whole[place]]).abs() <= 2 * (chunk - single).abs().max())


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
            same, ties = (sum(r[what][name] for r in some) for what in ("same", "tied"))
            equal = f"{same} of {len(some)}" + (f", {ties} parted at a near tie" if ties else "")
            passes = [r["tokens"] / r["passes"][name] for r in some if r["passes"][name]]
            held = f"{statistics.mean(passes):.2f}" if passes else ""
            lines.append(f"| {kind} | {name} | {middle:.2f} | {low:.2f} to {high:.2f} | {equal} | {held} |")
    return "\n".join(lines)


def predicted(records: list[dict[str, Any]], apart: dict[str, Any], name: str) -> list[tuple[float, float]]:
    """Of every prompt of a contender of ours the ratio that the model of costs predicts, and the one measured.

    A text of N tokens takes the reading of its prompt, and N - 1 steps of one token or (N - 1) / t passes, each a check
    of w tokens and a guess: t tokens a pass and w come from the other prompts of the kind, seconds were measured apart.
    """
    found = []
    for own in records:
        others = [r for r in records if r is not own and r["kind"] == own["kind"]]
        steps, tokens = own["tokens"] - 1, statistics.mean(a_pass(r, name)[0] for r in others)
        wide = statistics.mean(a_pass(r, name)[1] for r in others)
        plain, apiece = apart["read"] + steps * apart["checks"][0], check_at(apart["checks"], wide) + apart["guess"]
        foretold = plain / (apart["read"] + steps / tokens * apiece)
        found.append((foretold, fastest(own["seconds"]) / own["seconds"][name]))
    return found


def a_pass(record: dict[str, Any], name: str) -> tuple[float, float]:
    """Tokens made and tokens checked in a pass, but the one that reads the prompt."""
    passes = record["passes"][name] - 1
    return (record["tokens"] - 1) / passes, 1 + record["drafted"][name] / passes


def check_at(checks: list[float], wide: float) -> float:
    """Seconds of a check of so many tokens, a number between."""
    low = min(int(wide), len(checks) - 1)
    return checks[low - 1] + (wide - low) * (checks[low] - checks[low - 1])


def predictions(kept: dict[str, Any]) -> str:
    """A table: the ratio that was measured and the one that the model of costs predicts, by kind and contender."""
    rows = []
    for name in OURS:
        for kind in KINDS:
            records = [r for r in kept["prompts"] if r["kind"] == kind]
            pairs = predicted(records, kept["apart"], name)
            foretold, measured = (statistics.median(pair[n] for pair in pairs) for n in (0, 1))
            rows.append([name, kind, f"{measured:.2f}", f"{foretold:.2f}", f"{foretold / measured - 1:+.0%}"])
    return markdown(["contender", "prompts", "measured", "predicted", "off by"], rows)


def elsewhere(kept: dict[str, Any]) -> str:
    """A table: what the same account says of other models and machines, with as many tokens a pass as here."""
    apart, name = kept["apart"], OURS[0]
    tokens, wide = (statistics.mean(a_pass(r, name)[n] for r in kept["prompts"]) for n in (0, 1))
    step, check, guess = apart["checks"][0], check_at(apart["checks"], wide), apart["guess"]
    ours, large = apart["weights"], {"blocks": 32 * (4 * 4096**2 + 3 * 4096 * 11008), "head": 32000 * 4096}
    widths = sum(level + 3 for level in range(ours["levels"]))
    large["guess"] = widths * 4096**2 + ours["levels"] * 8192 * 4096
    shares = [own["guess"] / (own["blocks"] + own["head"]) for own in (ours, large)]
    cases = [
        ("this model on this machine", check / step, guess / step),
        ("a machine that checks many tokens in the time of one, as a GPU does", 1.0, shares[0]),
        ("7B parameters (Llama 2's shape) on this machine", check / step, shares[1]),
        ("7B parameters where many tokens take the time of one", 1.0, shares[1]),
    ]
    rows = [[case, f"{c:.2f}", f"{g:.3f}", f"{tokens:.2f}", f"{tokens / (c + g):.2f}"] for case, c, g in cases]
    return markdown(["", "check c", "guess g", "tokens a pass t", "t / (c + g)"], rows)


def parts(kept: dict[str, Any]) -> dict[str, str]:
    """The tables of the page by name."""
    checks = [f"{1000 * seconds:.1f}" for seconds in kept["apart"]["checks"]]
    costs = markdown([f"ms by {kept['threads']} threads", *map(str, range(1, len(checks) + 1)), "guess"],
                     [["check of so many tokens", *checks, f"{1000 * kept['apart']['guess']:.1f}"]])  # fmt: skip
    made = {"decoding": report(kept["prompts"]), "decoding-costs": costs, "decoding-predictions": predictions(kept)}
    return {**made, "decoding-elsewhere": elsewhere(kept)}


def draw(kept: dict[str, Any]) -> None:
    """Times as fast by kind of prompt and contender, medians with their intervals."""
    import matplotlib.pyplot as plt

    from linear_shortcuts.figures.printing import (
        BLUE,
        GREEN,
        ORANGE,
        PAGE as WIDTH,
        PURPLE,
        SKY,
        STYLE,
        VERMILLION,
        label_below,
        save,
    )

    names = [name for name in kept["prompts"][0]["seconds"] if name not in ("generate", "full")]
    colors = (BLUE, SKY, GREEN, ORANGE, PURPLE, VERMILLION)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(WIDTH, 2.7))
        for number, (name, color, mark) in enumerate(zip(names, colors, "os^DvP", strict=False)):
            for place, kind in enumerate(KINDS):
                some = [r for r in kept["prompts"] if r["kind"] == kind]
                middle, low, high = interval([fastest(r["seconds"]) / r["seconds"][name] for r in some])
                spread = [[middle - low], [high - middle]]
                axis.errorbar(place + 0.12 * (number - 2), middle, spread, color=color, marker=mark, capsize=2,
                              label=name if place == 0 else None)  # fmt: skip
        axis.axhline(1, color="black", linewidth=0.6)
        axis.set(ylabel="times as fast as one token a step", title="SmolLM2-135M, the same tokens from all")
        axis.set_xticks(range(len(KINDS)), KINDS)
        label_below(figure, axis, 3)
        FIGURES.mkdir(parents=True, exist_ok=True)
        save(figure, {"svg": FIGURES}, "times")


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
    parser.add_argument("--assistant", type=Path, help="a folder that `linear-shortcuts shorten --exit` wrote")
    parser.add_argument("--without", nargs="*", default=[], help="contenders to leave out, not full")
    parser.add_argument("--keep", action="store_true", help="put what was found into docs/ when all is done")
    parser.add_argument("--processor-time", action="store_true", help="for one thread beside other work")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.processor_time else time.perf_counter
    model, tokenizer = load_model(args.model, device="cpu"), load_tokenizer(args.model)
    pack(model.network)  # of all contenders alike
    shortcuts = Shortcuts.load(args.shortcuts, model)
    beside, done = args.out.with_suffix(".apart"), read(args.out) if args.out.exists() else []
    if not beside.exists():
        beside.write_text(json.dumps(costs_apart(model, shortcuts, clock)))
    apart = json.loads(beside.read_text())
    ways = contenders(model, shortcuts, apart["checks"], args.new_tokens, args.assistant)
    ways = {name: way for name, way in ways.items() if name not in args.without}
    todo = list(prompts(tokenizer, args.articles, args.prompts))[len(done) :]
    for kind, prompt in tqdm(todo, desc="prompts", disable=None):
        record: dict[str, Any] = {"kind": kind, "tokens": args.new_tokens}
        record |= {what: {} for what in ("seconds", "same", "tied", "passes", "drafted")}
        whole: list[int] = []
        for name, way in ways.items():
            began = clock()
            ids, record["passes"][name], record["drafted"][name] = way(prompt)
            record["seconds"][name] = clock() - began
            whole = whole or ids
            record["same"][name] = ids == whole
            record["tied"][name] = ids != whole and tied(model, prompt, ids, whole)
        done.append(record)
        with args.out.open("a") as out:
            out.write(json.dumps(record) + "\n")
    print(report(done))
    if args.keep:
        kept = {"threads": args.threads, "apart": apart, "prompts": done}
        KEPT.write_text(json.dumps(kept, separators=(",", ":")).replace('{"kind"', '\n{"kind"') + "\n")
        documents.fill(PAGE, parts(kept))
        draw(kept)


if __name__ == "__main__":
    main()
