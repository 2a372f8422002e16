"""What was found, as tables with intervals that resample articles, because the tokens of one resemble each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import artifacts
from linear_shortcuts.scores import Table
from linear_shortcuts.shorten.judgement import CONFIDENCE, resampled_articles
from shorter_models import settings as study
from shorter_models.calibration import METHODS
from shorter_models.judgements import COUNTED, WHOLE
from shorter_models.settings import Settings

MEASURES = ("perplexity", "kl", "agreement", "cloze")


class Found:
    """What one model's shorter ones are worth on one text.

    values: (model, measure) -> the number over all rows, followed by one for each resample; the same resamples for all
    models, so that differences are paired. Models are named as in `judgements.beside`.
    """

    def __init__(self, settings: Settings, model: str, text: str) -> None:
        rows = artifacts.load(study.judged(model, text), made_by="02_judge.py")
        article = torch.tensor([row["article"] for row in rows])
        counts = torch.cat([torch.ones(1, len(rows), dtype=torch.float64), resampled_articles(article, settings.seed)])
        self.models = list(rows[0]["sums"])
        self.values: dict[tuple[str, str], Tensor] = {}
        for name in self.models:
            sums = counts @ torch.tensor([row["sums"][name] for row in rows], dtype=torch.float64)
            own = dict(zip(COUNTED, sums.T, strict=True))
            self.values[name, "perplexity"] = (own["loss"] / own["positions"]).exp()
            self.values[name, "kl"] = own["kl"] / own["positions"]
            self.values[name, "agreement"] = own["agree"] / own["positions"]
            self.values[name, "cloze"] = own["right"] / own["words"]
        self.articles = len(article.unique())
        self.positions, self.words = (
            int(sum(row["sums"][WHOLE][COUNTED.index(key)] for row in rows)) for key in ("positions", "words")
        )

    def record(self, name: str, measure: str, minus: str | None = None) -> dict[str, float | None]:
        """A number with its interval; minus: of the difference to another model."""
        values = self.values[name, measure]
        return interval(values if minus is None else values - self.values[minus, measure])


def interval(values: Tensor) -> dict[str, float | None]:
    """The first of some values, and the interval that the others, of resamples, span; None where there is nothing.

    A resample may lack what is counted, such as last words: it says nothing then.
    """
    tail = (1 - CONFIDENCE) / 2
    ends = values[1:].nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.float64))
    numbers = [None if math.isnan(number) else number for number in (float(values[0]), *ends.tolist())]
    return dict(zip(("value", "low", "high"), numbers, strict=True))


def worth(settings: Settings, model: str) -> Table:
    """A record per text, text calibrated on, number of blocks, method and measure; 0 blocks are the whole model's.

    `minus_drop_…`: with an interval of its own, what is there beyond leaving out the blocks chosen on the text itself,
    which are the same ones for whatever is calibrated there.
    """
    table = []
    for text in settings.texts:
        found = Found(settings, model, text)
        shared = {"text": text, "articles": found.articles, "positions": found.positions, "words": found.words}
        for name in found.models:
            source, number, method = (text, "0", WHOLE) if name == WHOLE else name.split("/")
            for measure in MEASURES:
                record: dict[str, Any] = {**shared, "calibrated": source, "blocks": int(number), "method": method}
                record |= {"measure": measure, **found.record(name, measure)}
                if method in METHODS:
                    own = found.record(name, measure, minus=f"{text}/{number}/drop")
                    record |= {f"minus_drop_{key}": value for key, value in own.items()}
                table.append(record)
    return table


def cuts(settings: Settings, model: str) -> Table:
    """A record per text and cut that was tried: its cosine, the KL of its fold where it was chosen, whether it was."""
    table = []
    for text in settings.texts:
        calibrated = artifacts.load(study.calibrated(model, text), made_by="01_calibrate.py")
        for candidate in calibrated["candidates"]:
            ends = candidate["start"], candidate["end"]
            chosen = tuple(calibrated["cuts"][candidate["blocks"]]) == ends
            table.append({"text": text, **candidate, "chosen": chosen})
    return table


def results(settings: Settings, model: str) -> dict[str, Table]:
    """All tables of a model: `worth`, `cuts`, and `costs` by number of blocks left out."""
    costs = artifacts.load_json(study.costs(model), made_by="03_time.py")
    whole = costs["0"]["tokens_per_second"]
    saved = [
        {"blocks": int(number), **own, "times_as_fast": own["tokens_per_second"] / whole}
        for number, own in costs.items()
    ]
    return {"worth": worth(settings, model), "cuts": cuts(settings, model), "costs": saved}


def metrics(made: Mapping[str, Mapping[str, Table]]) -> dict[str, Any]:
    """By model, text and method the mean KL at each number of blocks, to the digits that some rows can tell."""
    found: dict[str, Any] = {}
    for model, tables in made.items():
        for record in tables["worth"]:
            if record["measure"] == "kl" and record["method"] in METHODS and record["calibrated"] == record["text"]:
                own = found.setdefault(model, {}).setdefault(record["text"], {}).setdefault(record["method"], {})
                own[str(record["blocks"])] = round(record["value"], 2)
    return found
