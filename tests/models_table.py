"""The table of docs/MODELS.md, measured: for every architecture the invariants and the largest difference seen.

Writes  docs/MODELS.md, between its two markers

Example: python tests/models_table.py
"""

from __future__ import annotations

from pathlib import Path

import tiny
import torch

from linear_shortcuts.commands.invariants import INVARIANTS, check, sample_tokens
from linear_shortcuts.maps.fitting import layer_moments, submodule_moments
from linear_shortcuts.models.families import PARTS, find, stand_in_steps
from linear_shortcuts.models.language_model import LanguageModel
from linear_shortcuts.scores.exits import layer_guesses, part_guesses
from linear_shortcuts.states.extraction import extract

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "MODELS.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LINEAR = "linear"
HEADER = ["architecture", "model type", "parameters", *(one.name for one in INVARIANTS), LINEAR]


def linear_difference(name: str) -> float:
    """How far `mat` and the three stand-ins are off h_L in a model whose blocks are matrices: nowhere, in theory."""
    model = tiny.linear_model(name)
    shard = extract(model, tiny.tokens(model, 200, seed=1), 0, 200, 2000)
    layers = range(model.layers)
    maps = {
        (source, model.layers): moments.solve().matrices[0].float()
        for source, moments in layer_moments(layers, [shard], model.layers, "last", torch.device("cpu")).items()
    }
    stand_ins = {
        (block, step): moment.solve().matrices[0].float()
        for block, moments in submodule_moments(model, layers, [shard]).items()
        for step, moment in enumerate(moments)
    }
    tokens = tiny.tokens(model, 40, seed=2)
    states = extract(model, tokens, 0, len(tokens), 2000).hidden_states
    guesses = layer_guesses(states, _Maps(maps)) | part_guesses(model, tokens, _Maps(stand_ins), 2000)
    assert set(guesses) == {"id", "mat", *PARTS}
    largest = states[-1].abs().max()
    return max(
        float((guess - states[-1]).abs().max() / largest) for mapping, guess in guesses.items() if mapping != "id"
    )


class _Maps(dict):
    """Matrices in memory, used as those in a folder are."""

    def jump(self, states: torch.Tensor, source: int, target: int) -> torch.Tensor:
        return states @ self[source, target].T

    def stand_ins(self, model: LanguageModel, part: str) -> list[dict[int, torch.Tensor]]:
        return [
            {step: self[block, step] for step in stand_in_steps(model.family, part)} for block in range(model.layers)
        ]


def rows() -> list[list[str]]:
    """One row an architecture; a cell is the largest relative difference, `—` where there is nothing to measure."""
    made = []
    for name in tiny.ARCHITECTURES:
        model = tiny.architecture(name)
        assert find(model.network.config) is not None
        findings = list(check(model, sample_tokens(model)))
        cells = ["—" if finding.difference is None else f"{finding.difference:.0e}" for finding in findings]
        made.append([*named(name, model), *cells, f"{linear_difference(name):.0e}"])
    return made


def named(name: str, model: LanguageModel) -> list[str]:
    """The first cells of a row: architecture, model type, parameters."""
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    return [name, f"`{model.network.config.model_type}`", f"{parameters:,}"]


def table() -> str:
    lines = [HEADER, ["---"] * len(HEADER), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written() -> list[list[str]]:
    """The table as it stands in the document, header first."""
    text = DOCUMENT.read_text(encoding="utf-8")
    inside = text.partition(BEGIN)[2].partition(END)[0]
    lines = [line.strip("| ").split(" | ") for line in inside.strip().splitlines()]
    return [lines[0], *lines[2:]]


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")
    print(f"{len(tiny.ARCHITECTURES)} architectures measured, in {DOCUMENT.name}")


if __name__ == "__main__":
    main()
