"""Linear probes: what can be read off a sentence's content lambdas, and off simpler vectors of it?

The three questions are those of SentEval (Conneau et al., 2018) that need no labels but the text itself. Each probe is
a ridge classifier on standardised features whose strength of regularisation is chosen by leave-one-out on the train
sentences, so that wide and narrow vectors meet on equal terms.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linear_shortcuts.files import InputError, derive

BINS = 6  # of sentence lengths
COMMON = 0.1  # words in more than this share of the train sentences are not asked for
WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class Task:
    """A question about sentences: the numbers of those it can be asked of, and their answers. shifted: about the
    second set of texts, in some of which two words were swapped."""

    name: str
    asks: str
    rows: np.ndarray
    labels: np.ndarray
    shifted: bool = False


def shift_bigrams(sentences: Sequence[str], seed: int) -> tuple[list[str], np.ndarray]:
    """In half of the sentences, drawn by each one's own seed, two neighbouring words swapped; and which those are.

    Sentences without two neighbours of letters alone, and different, stay as they are and are marked -1.
    """
    texts, labels = [], []
    for sentence in sentences:
        generator = random.Random(derive(seed, "bigram", sentence))
        words = sentence.split()
        places = [
            i
            for i in range(len(words) - 1)
            if WORD.fullmatch(words[i]) and WORD.fullmatch(words[i + 1]) and words[i].lower() != words[i + 1].lower()
        ]
        shifted = generator.random() < 0.5
        if places and shifted:
            i = generator.choice(places)
            words[i], words[i + 1] = words[i + 1], words[i]
        texts.append(" ".join(words))
        labels.append(int(shifted) if places else -1)
    return texts, np.array(labels)


def tasks(
    train: Sequence[str], validation: Sequence[str], lengths: np.ndarray, shifts: np.ndarray, words: int
) -> list[Task]:
    """The questions about sentences, train ones first; thresholds and words are chosen on the train sentences.

    lengths: tokens of each sentence. shifts: as `shift_bigrams` gives them. words: how many may be asked for.
    """
    sentences = [*train, *validation]
    everything = np.arange(len(sentences))
    edges = np.quantile(lengths[: len(train)], np.linspace(0, 1, BINS + 1)[1:-1])
    found = [set(WORD.findall(sentence.lower())) for sentence in sentences]
    counts = Counter(word for words_of in found[: len(train)] for word in words_of if len(word) > 3)
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    wanted = [word for word, number in frequent if number <= COMMON * len(train)][:words]
    if len(wanted) < 2:
        raise InputError(
            f"the sentences hold {len(wanted)} words of four letters that are not in most; probes need two"
        )
    has = np.array([[word in words_of for word in wanted] for words_of in found])
    one = has.sum(1) == 1
    asked = everything[shifts >= 0]
    return [
        Task("length", f"how long? ({BINS} classes)", everything, np.searchsorted(edges, lengths)),
        Task("word", f"which of {len(wanted)} words does it hold?", everything[one], has[one].argmax(1)),
        Task("order", "were two neighbouring words swapped?", asked, shifts[asked], shifted=True),
    ]


def probe(features: np.ndarray, task: Task, train: int) -> float:
    """Accuracy on validation sentences of a linear classifier fitted on the first `train` ones.

    features: (n, d), one row a sentence.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    first = task.rows < train
    x, y = features[task.rows].astype(np.float64), task.labels
    if first.all() or len(np.unique(y[first])) < 2:
        raise InputError(f"too few sentences can be asked {task.asks!r}; raise lambdas.train and lambdas.validation")
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(-1, 5, 13)))
    return float(classifier.fit(x[first], y[first]).score(x[~first], y[~first]))


def random_labels(task: Task, seed: int) -> Task:
    """The same question with answers dealt out anew: a probe that does better than the commonest answer is wrong."""
    labels = np.random.default_rng(derive(seed, "labels", task.name)).permutation(task.labels)
    return Task(task.name, task.asks, task.rows, labels, task.shifted)


def majority(task: Task, train: int) -> float:
    """Accuracy on validation sentences of always giving the train sentences' commonest answer."""
    first = task.rows < train
    values, counts = np.unique(task.labels[first], return_counts=True)
    return float((task.labels[~first] == values[counts.argmax()]).mean())
