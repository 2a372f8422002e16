"""Early exit by the clock: four ways of filling what later blocks lack, over short and long texts.

Reads   a model, shortcuts with exits and all fills (stages/13_fit_shortcuts.py), articles to take prompts from
Writes  OUT/timed.jsonl       a text a line: its ids, the layers that made them, seconds
        OUT/scored.jsonl      with --score: and whether each token is the full model's best after the text so far
        OUT/divergence.jsonl  with --divergence: of the first prompts' longest texts also KL(full || early exit) by step
        docs/results/early_exit.json, docs/EARLY_EXIT.md and its figure, with --keep

A killed run goes on where it was. Contenders take turns on each prompt; only what is timed needs quiet cores.

Example: python benchmarks/early_exit.py MODEL.gguf shortcuts articles.jsonl out
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from decoding import prompts, read
from early_exit_page import CONFIDENCES, KEPT, LENGTHS, MIDDLE, WINDOWS, Record, rounded, write
from torch import Tensor
from tqdm import tqdm

from linear_shortcuts.decoding import Shortcuts, generate
from linear_shortcuts.decoding.choice import greedy
from linear_shortcuts.decoding.early_exit import early_exit, threshold
from linear_shortcuts.decoding.filling import WAYS, Waiting
from linear_shortcuts.decoding.projections import Projections
from linear_shortcuts.decoding.shortcuts import stack_of
from linear_shortcuts.decoding.stack import keep, new_cache
from linear_shortcuts.models import LanguageModel, load_model, load_tokenizer, pack
from linear_shortcuts.states import SequenceRecorder

# --- measuring -------------------------------------------------------------------------------------------------


def settings(tokens: int) -> Iterator[tuple[str, float]]:
    """The ways of decoding that are timed on a text of so many tokens: (name, confidence)."""
    yield from (("generate", 0.0), ("full", 0.0))
    yield from itertools.product(WAYS, CONFIDENCES if tokens == LENGTHS[1] else (MIDDLE,))


def tasks(kinds: Sequence[tuple[str, list[int]]], long: int) -> Iterator[Record]:
    """All texts to be made, in order; of the first `long` prompts, at last, those of the largest length."""
    short = list(itertools.product(range(len(kinds)), LENGTHS[:-1]))
    for number, tokens in [*short, *((number, LENGTHS[-1]) for number in range(long))]:
        kind, prompt = kinds[number]
        for name, confidence in settings(tokens):
            told = {"number": number, "kind": kind, "prompt": prompt, "tokens": tokens}
            yield {**told, "way": name, "confidence": confidence}


def timed(model: LanguageModel, shortcuts: Shortcuts, task: Record) -> Record:
    """The task with what was made, and in how many seconds, reading the prompt included."""
    prompt, tokens, name = task["prompt"], task["tokens"], task["way"]
    began = time.perf_counter()
    if name == "generate":
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            made = model.network.generate(
                ids, attention_mask=torch.ones_like(ids), pad_token_id=0, do_sample=False, max_new_tokens=tokens,
                min_new_tokens=tokens,
            )[0, len(prompt) :].tolist()  # fmt: skip
        layers = [model.layers] * tokens
    else:
        how: Record = {"fill": name, "confidence": task["confidence"], "method": "early-exit", "shortcuts": shortcuts}
        [done] = generate(model, [prompt], new_tokens=tokens, **({} if name == "full" else how))
        made, layers = done.ids, done.layers
    return {**task, "seconds": time.perf_counter() - began, "ids": made, "layers": layers}


@torch.inference_mode()
def parts_of_a_step(model: LanguageModel, shortcuts: Shortcuts, past: int = 128, rounds: int = 15) -> dict[str, float]:
    """Seconds of what a step is made of, medians in turn: a block (one of all), the head, a check, the rest."""
    stack, cache = stack_of(model), new_cache()
    past = min(past, (model.max_tokens or past + 1) - 1)
    ids = torch.arange(past + 1)[None]
    calls = stack.prepare(ids[:, :past], 0)
    stack.run(calls, calls.states, 0, stack.layers, cache)
    one, short = stack.prepare(ids[:, past:], past), shortcuts.head(stack).head
    exit_map, state = shortcuts.exit_maps()[shortcuts.exits[0]], torch.randn(model.width)

    def blocks() -> None:
        stack.run(one, one.states, 0, stack.layers, cache)
        keep(cache, past)

    def check() -> None:
        torch.softmax(stack.decode(exit_map(state), short).float(), dim=-1).topk(2).values.tolist()

    timers: dict[str, Callable[[], Any]] = {
        "blocks": blocks,
        "head": lambda: int(stack.decode(state).argmax()),
        "check": check,
        "rest": lambda: stack.prepare(ids[:, past:], past),
    }
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            began = time.perf_counter()
            timer()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {"block": medians.pop("blocks") / stack.layers, **medians}


@torch.inference_mode()
def scored(model: LanguageModel, shortcuts: Shortcuts, record: Record) -> Record:
    """The record with `same`: whether each token is the full model's best one after the text so far, 0 or 1.

    By definition so of the full model's own; of `full` also `along`.
    """
    if record["way"] not in WAYS:
        told = {"along": along(model, shortcuts, record)} if record["way"] == "full" else {}
        return {**record, **told, "same": [1] * record["tokens"]}
    full = logits_of(model, record)
    return {**record, "same": (full.argmax(-1) == torch.tensor(record["ids"])).int().tolist()}


@torch.inference_mode()
def along(model: LanguageModel, shortcuts: Shortcuts, record: Record) -> dict[str, list[float]]:
    """By confidence, of early exit along the full model's own text: tokens the same, mean layers.

    What `recompute` would decide at each token if all before it were the full model's: states are its own, then.
    """
    stack, exits, recorder = stack_of(model), shortcuts.exit_maps(), SequenceRecorder()
    with model.watch(recorder):
        model.encode(torch.tensor([record["prompt"] + record["ids"]]), None)
    rows = slice(len(record["prompt"]), -1)  # the first token of all is made by all blocks
    short, decided = shortcuts.head(stack), {}
    for layer, affine in exits.items():
        best = torch.softmax(stack.decode(affine(recorder.states[layer][0, rows]), short.head).float(), -1).topk(2)
        decided[layer] = best.values[:, 0] - best.values[:, 1], short.ids[best.indices[:, 0]]
    found = {}
    for confidence in CONFIDENCES:
        sure = torch.tensor([threshold(confidence, record["tokens"])(t) for t in range(1, record["tokens"])])
        said, layers = torch.tensor(record["ids"][1:]), torch.full((record["tokens"] - 1,), model.layers)
        for layer, (margins, tokens) in sorted(decided.items(), reverse=True):
            said, layers = (torch.where(margins > sure, own, old) for own, old in ((tokens, said), (layer, layers)))
        same = int((said == torch.tensor(record["ids"][1:])).sum()) + 1
        found[str(confidence)] = [same, rounded((int(layers.sum()) + model.layers) / record["tokens"])]
    return found


@torch.inference_mode()
def logits_of(model: LanguageModel, record: Record) -> Tensor:
    """What the full model says before each token made, (tokens, V)."""
    ids = torch.tensor([record["prompt"] + record["ids"]])
    return model.network(input_ids=ids).logits[0, len(record["prompt"]) - 1 : -1].float()


@torch.inference_mode()
def divergence(model: LanguageModel, shortcuts: Shortcuts, task: Record) -> Record:
    """The task with `kl`, by step KL(full || what decided) in nats; an exit is read through the whole head for it."""
    stack, maps, said = stack_of(model), shortcuts.exit_maps(), list[Tensor]()

    class Noting(Waiting):
        def leave(self, position: int, layer: int, state: Tensor) -> None:
            said.append(stack.decode(maps[layer](state[0, -1])))
            super().leave(position, layer, state)

    def choose(logits: Tensor) -> int:
        said.append(logits)
        return greedy(logits)

    way = task["way"]
    projections = Projections(stack) if way == "kv_map" else None
    waiting = Noting(stack, new_cache(), way, shortcuts.guesses(way), projections)
    sure = threshold(task["confidence"], task["tokens"])
    steps = early_exit(stack, task["prompt"], choose, maps, sure, waiting, shortcuts.head(stack))
    made = list(itertools.islice(steps, task["tokens"]))
    record = {**task, "ids": [step.tokens[0] for step in made], "layers": [step.layers[0] for step in made]}
    full, ours = F.log_softmax(logits_of(model, record), -1), F.log_softmax(torch.stack(said).float(), -1)
    kl = (full.exp() * (full - ours)).sum(-1).clamp(min=0)
    return {**scored(model, shortcuts, record), "kl": [float(f"{value:.3g}") for value in kl.tolist()]}


# --- keeping ---------------------------------------------------------------------------------------------------


def kept(records: Sequence[Record], kls: Sequence[Record], exits: Sequence[int], parts: Sequence[Record]) -> Record:
    """What the page is made of: a row a text, a row a text whose divergence was taken, the parts of a step.

    base: seconds of decoding one token a step, the faster of the library's and our own: a leaner loop is no shortcut.
    """
    plain = {
        name: {(r["number"], r["tokens"]): r for r in records if r["way"] == name} for name in ("generate", "full")
    }
    texts = []
    for r in records:
        key = (r["number"], r["tokens"])
        greedily = plain["full"][key]["ids"]
        texts.append({
            **named(r),
            "seconds": rounded(r["seconds"]),
            "base": rounded(min(of[key]["seconds"] for of in plain.values())),
            "as_full": next((n for n in range(r["tokens"]) if r["ids"][n] != greedily[n]), r["tokens"]),
            "repeats": rounded(repeats(r["ids"])),
            "layers": rounded(statistics.mean(r["layers"])),
            "through": rounded(statistics.mean(layer > max(exits) for layer in r["layers"])),
            "checks": rounded(statistics.mean(sum(exit <= layer for exit in exits) for layer in r["layers"])),
        })  # fmt: skip
    alongside = [{"number": r["number"], "tokens": r["tokens"], "by": r["along"]} for r in records if "along" in r]
    divergences = [{**named(r), "kl": [rounded(statistics.mean(r["kl"][a:b])) for a, b in windows(r)]} for r in kls]
    costs = {name: rounded(statistics.median(part[name] for part in parts)) for name in parts[0]}
    return {"exits": list(exits), "seconds": costs, "texts": texts, "along": alongside, "divergences": divergences}


def repeats(ids: Sequence[int], length: int = 4) -> float:
    """The share of tokens that end a stretch of this length which stood in the text before."""
    stretches = [tuple(ids[end - length : end]) for end in range(length, len(ids) + 1)]
    return (len(stretches) - len(set(stretches))) / len(ids)


def rounds_as_one(records: Sequence[Record]) -> list[Record]:
    """Each text once, where all contenders made it, with the seconds of its fastest round: other work can only add."""
    texts: dict[tuple[Any, ...], Record] = {}
    for r in records:
        key = tuple(r[name] for name in ("number", "tokens", "way", "confidence"))
        texts[key] = {**r, "seconds": min(r["seconds"], texts.get(key, r)["seconds"])}
    made = Counter((r["number"], r["tokens"]) for r in texts.values())
    return [r for r in texts.values() if made[r["number"], r["tokens"]] == len(list(settings(r["tokens"])))]


def named(r: Record) -> Record:
    """Which text it is, and how many of its tokens are the full model's best, by window."""
    told = {name: r[name] for name in ("number", "kind", "tokens", "way", "confidence")}
    return {**told, "same": [sum(r["same"][first:last]) for first, last in windows(r)]}


def windows(r: Record) -> list[tuple[int, int]]:
    return [(first, last) for first, last in WINDOWS if last <= r["tokens"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("shortcuts", type=Path)
    parser.add_argument("articles", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--prompts", type=int, default=3, help="of prose and of code each (default: 3)")
    parser.add_argument(
        "--long", type=int, default=2, help=f"of all these, those continued by {LENGTHS[-1]} tokens too"
    )
    parser.add_argument("--rounds", type=int, default=1, help="the fastest of which counts (default: 1)")
    passes = parser.add_mutually_exclusive_group()
    passes.add_argument("--score", action="store_true", help="the second pass")
    passes.add_argument("--divergence", action="store_true", help="the third pass")
    passes.add_argument("--keep", action="store_true", help="put what was found into docs/")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    files = {name: args.out / f"{name}.jsonl" for name in ("timed", "scored", "divergence", "parts")}
    done = {name: read(path) if path.exists() else [] for name, path in files.items()}
    if args.keep:
        exits = Shortcuts.load(args.shortcuts, load_model(args.model, device="cpu")).exits
        KEPT.write_text(json.dumps(kept(done["scored"], done["divergence"], exits, done["parts"]), indent=1) + "\n")
        write()
        return
    args.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_model(args.model, device="cpu"), load_tokenizer(args.model)
    pack(model.network)  # of all contenders alike
    shortcuts = Shortcuts.load(args.shortcuts, model)
    kinds = [pair for pair in prompts(tokenizer, args.articles, args.prompts) if pair[0] != "repetition"]
    todo = list(tasks(kinds, args.long)) * args.rounds
    name, work = "timed", lambda task: timed(model, shortcuts, task)
    if args.score:
        name, todo, work = "scored", rounds_as_one(done["timed"]), lambda record: scored(model, shortcuts, record)
    elif args.divergence:
        todo = [task for task in todo if task["tokens"] == LENGTHS[-1] and task["way"] in WAYS]
        name, work = "divergence", lambda task: divergence(model, shortcuts, task)
    else:
        append(files["parts"], parts_of_a_step(model, shortcuts))
    for task in tqdm(todo[len(done[name]) :], desc=name, unit=" texts", disable=None):
        append(files[name], work(task))


def append(path: Path, record: Record) -> None:
    with path.open("a") as out:
        out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
