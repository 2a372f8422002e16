"""The README.md of a shorter checkpoint: what was left out, on which text, what it costs and what it saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linear_shortcuts.files.sharing import base_model
from linear_shortcuts.shorten.choice import Shortened

_WAYS = {
    "fold": "In their place stands one matrix, fitted by ridge regression and folded into the down-projection of the "
    "last block before them (ReplaceMe, arXiv 2505.02819), so that there is nothing new to load or to run.",
    "drop": "Nothing stands in their place.",
    "patch": "In their place LinearPatch (arXiv 2505.24680) rescales the stream, which no checkpoint can hold.",
    "matrix": "In their place one matrix multiplies the stream, which no checkpoint can hold: to compare with.",
}


def text_of(shortened: Shortened, name: str, of: str, text: str, bytes_of_weights: int) -> str:
    """The card, in Markdown."""
    made, report = shortened.made, shortened.report
    return "\n".join(
        [
            f"---\n{base_model(of)}library_name: transformers\n---", "",
            f"# {name}", "", what_was_made(made, of), "",
            f"Fitted on, chosen by and reported on three separate parts of: {text}. Nothing was trained.", "",
            *table(report), "",
            "Perplexity of the text's own tokens; KL(original || this model) in nats a token; agreement: the share of "
            "positions where both have the same most probable token. In brackets 95 % intervals, articles resampled. "
            "Speed: greedy generation, both models in turn on one machine. "
            f"Weights on disk: {bytes_of_weights / 1e6:,.0f} MB.",
            "", "```python", "from transformers import AutoModelForCausalLM, AutoTokenizer",
            f'model = AutoModelForCausalLM.from_pretrained("{name}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
            "```", "",
            *candidates(shortened),
        ]
    )  # fmt: skip


def what_was_made(made: Mapping[str, Any], of: str) -> str:
    """A few sentences on how the model differs from the original."""
    if made["method"] == "exit":
        return (
            f"The first {made['start']} of the {made['of']} blocks of {of}, with a head that holds the linear map from "
            f"layer {made['start']} to the last one. {made['note']}"
        )
    return f"{of} without {made['left_out']} of its {made['of']}, counted from 0. {_WAYS[made['method']]}"


def summary(shortened: Shortened, of: str) -> str:
    """What is printed: what was made, the candidates, and the numbers."""
    return "\n".join([what_was_made(shortened.made, of), "", *candidates(shortened), *table(shortened.report)])


def table(report: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The numbers of the whole and the shorter model, as the lines of a table."""
    names = {"whole": "original", "shorter": "this model"}
    return [
        "| | perplexity | KL | agreement | parameters | tokens/s |",
        "|---|---|---|---|---|---|",
        *(
            f"| {names[key]} | {_with_interval(own, 'perplexity', 2)} | {_with_interval(own, 'kl', 3)} | "
            f"{_with_interval(own, 'agreement', 3)} | {own['parameters']:,} | {own['tokens_per_second']:.1f} |"
            for key, own in report.items()
        ),
    ]


def candidates(shortened: Shortened) -> list[str]:
    """The cuts that were scored, as the lines of a table; none where the cut was given."""
    if len(shortened.candidates) < 2:
        return []
    return [
        "Cuts that were scored, the least KL first:", "",
        "| blocks left out | cosine | r2 | perplexity | KL |",
        "|---|---|---|---|---|",
        *(
            f"| {own['start']} to {own['end'] - 1} | {_number(own['cosine'])} | {_number(own['r2'])} | "
            f"{own['perplexity']:.2f} | {own['kl']:.3f} |"
            for own in shortened.candidates
        ),
        "",
    ]  # fmt: skip


def _with_interval(own: Mapping[str, float], name: str, digits: int) -> str:
    return f"{own[name]:.{digits}f} [{own[f'{name}_low']:.{digits}f}, {own[f'{name}_high']:.{digits}f}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
