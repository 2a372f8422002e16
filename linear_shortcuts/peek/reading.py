"""What a sentence is under some lenses: at every layer and word, the tokens that come first; shown and exported."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from linear_shortcuts.files import InputError
from linear_shortcuts.peek import page

DIVERGED = "diverged"  # stands where a lens says nothing, for its numbers overflowed
TOP = 10  # tokens kept of a cell


@dataclass(frozen=True)
class Cells:
    """What one lens says at R layers and T words.

    ids: (R, T, k) int64, best first. probabilities: (R, T, k). ranks: of every word, token -> (R,), 1 is first.
    trajectories: of every word, the probabilities (R,) of each token that is among the best at some layer.
    Where a guess diverged, as matrices in the place of norms can, ids are -1, ranks 0 and probabilities nan.
    """

    ids: Tensor
    probabilities: Tensor
    ranks: tuple[dict[int, Tensor], ...]
    trajectories: tuple[dict[int, Tensor], ...]


@dataclass(frozen=True)
class Reading:
    """One sentence under some lenses; the last row is the model's own prediction.

    layers: (R,) numbers of the rows. ids: (T,) the sentence. answers: (T,) what the model itself puts first.
    words: how each token that occurs is shown; texts: what it decodes to.
    fitted_on: of a lens, the name of its text, where it is known.
    """

    model: str
    text: str
    layers: tuple[int, ...]
    ids: tuple[int, ...]
    answers: tuple[int, ...]
    lenses: Mapping[str, Cells]
    words: Mapping[int, str]
    texts: Mapping[int, str]
    fitted_on: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Reading({len(self.layers)} layers of {self.model} at {len(self.ids)} tokens: {', '.join(self.lenses)})"

    def title(self, lens: str) -> str:
        """What a lens is called where it is shown: its name, and what it was fitted on."""
        return f"{lens} (fitted on {self.fitted_on[lens]})" if lens in self.fitted_on else lens

    def cell(self, lens: str, layer: int, position: int) -> list[tuple[str, float]]:
        """The first tokens and their probabilities at one layer and word, none where the lens diverged.

        A position below 0 counts from the end.
        """
        cells, row = self.lenses[lens], self.layers.index(layer)
        pairs = zip(cells.ids[row, position].tolist(), cells.probabilities[row, position].tolist(), strict=True)
        return [(self.words[token], probability) for token, probability in pairs if probability == probability]

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it; probabilities to four places, null where a lens diverged."""
        return {
            "model": self.model,
            "text": self.text,
            "layers": list(self.layers),
            "ids": list(self.ids),
            "answers": list(self.answers),
            "fitted_on": dict(self.fitted_on),
            "words": {str(token): word for token, word in sorted(self.words.items())},
            "lenses": {
                name: {
                    "ids": cells.ids.tolist(),
                    "probabilities": [
                        [[round(p, 4) if p == p else None for p in cell] for cell in row]
                        for row in cells.probabilities.tolist()
                    ],
                    "ranks": [{str(token): rank.tolist() for token, rank in own.items()} for own in cells.ranks],
                }
                for name, cells in self.lenses.items()
            },
        }

    def to_logitlenskit(self, lens: str, top: int = 5) -> dict[str, Any]:
        """One lens as LogitLensKit's JSON, which its widget shows; top: the tokens of a cell.

        Version 2 of github.com/davidbau/logitlenskit, docs/DATA_FORMAT.md: `topk` has the first tokens by layer and
        word; `tracked`, by word, the probability at every layer of each token that is among them somewhere. Layer l
        there is the state that leaves block l, our l + 1, so that our layer 0 has no place.

        Raises `InputError` for a lens that is not there, and for a reading without trajectories.
        """
        if lens not in self.lenses:
            raise InputError(f"there is no lens {lens} in {self}; name one of {', '.join(self.lenses)}")
        cells, names = self.lenses[lens], self._names()
        if not 1 <= top <= TOP:
            raise InputError(f"top is {top}; give 1 to {TOP}")
        if not all(cells.trajectories):
            raise InputError("the reading has no trajectories of tokens; make it with ranks=True")
        if bool(cells.probabilities.isnan().any()):
            raise InputError(f"the lens {lens} diverges at some layer, which this format cannot say; export another")
        first = 1 if self.layers[0] == 0 else 0
        ids = cells.ids[first:, :, :top].tolist()

        def tracked(column: int) -> dict[str, list[float]]:
            own = cells.trajectories[column]
            tokens = dict.fromkeys(token for row in ids for token in row[column])
            return {names[token]: [round(p, 5) for p in own[token][first:].tolist()] for token in tokens}

        return {
            "meta": {"version": 2, "model": self.model},
            "input": [names[token] for token in self.ids],
            "layers": [layer - 1 for layer in self.layers[first:]],
            "topk": [[[names[token] for token in cell] for cell in row] for row in ids],
            "tracked": [tracked(column) for column in range(len(self.ids))],
        }

    def _names(self) -> dict[int, str]:
        """What each token decodes to; how it is shown, where that is no whole character or the text of several."""
        times = Counter(self.texts.values())
        return {
            token: text if times[text] == 1 and "\ufffd" not in text else self.words[token]
            for token, text in self.texts.items()
        }

    def to_html(self) -> str:
        """A page of its own that needs nothing else: no network, no other file."""
        return page.render(self.as_dict())

    def _repr_html_(self) -> str:
        """The page inside a notebook's output."""
        frame = "width:100%;height:36em;border:0"
        return f'<iframe title="Reading" style="{frame}" srcdoc="{html.escape(self.to_html())}"></iframe>'
