"""What stage 06 finds in the content lambdas of a trained model, beside those of the same model before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lambda_bert import lambdas, probing, reading
from lambda_bert.lambdas import Export
from lambda_bert.probing import Task
from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
from linear_shortcuts.models import LanguageModel

Table = list[dict[str, Any]]
JUDGED = 100  # sentences by which ways to read rows are judged
LISTED = 4  # rows and columns of each layer that are listed, those of the largest images


def spectra(made: Export, name: str) -> Table:
    """A record for each layer: effective rank, leading singular values, what is shared, cosines of two sentences."""
    found, mean = made.lambdas, made.lambdas.mean(0)
    ranks, values = lambdas.effective_rank(found), lambdas.singular_values(found).mean(0)
    cosine, centred = lambdas.mean_cosine(found), lambdas.mean_cosine(found - mean)
    shared = lambdas.shared(found)
    return [
        {
            "model": name,
            "layer": layer + 1,
            "effective_rank": float(ranks[:, layer].mean()),
            "largest_rank": min(found.shape[-2:]),
            "singular_values": [float(value) for value in values[layer]],
            "shared": float(shared[layer]),
            "cosine": float(cosine[layer]),
            "centred_cosine": float(centred[layer]),
        }
        for layer in range(found.shape[1])
    ]


def probes(
    plain: Export, shifted: Export, words: np.ndarray, tasks: Sequence[Task], name: str, train: int, seed: int
) -> Table:
    """A record for each task, kind of vector and layer: the accuracy of a linear probe on validation sentences.

    plain, shifted: of the sentences as they are, and of those in some of which two words were swapped. words: (V, H),
    the word embeddings, whose mean over a sentence, special tokens apart, is its bag.
    """
    records: Table = []
    for task in tasks:
        made = shifted if task.shifted else plain
        bag = np.stack([words[ids[1:-1].numpy()].mean(0) for ids in made.ids])
        vectors = {("bag of embeddings", 0): bag}
        for layer in range(made.lambdas.shape[1]):
            vectors["content lambda", layer + 1] = made.lambdas[:, layer].reshape(len(bag), -1)
            vectors["mean state", layer + 1] = made.pooled[:, layer + 1]
        dealt = probing.random_labels(task, seed)
        last = max(layer for _, layer in vectors)
        named = {key: (features, task) for key, features in vectors.items()}
        named["content lambda, random labels", last] = (vectors["content lambda", last], dealt)
        for (kind, layer), (features, asked) in named.items():
            accuracy = probing.probe(features, asked, train)
            records.append({"model": name, "task": task.name, "vector": kind, "layer": layer, "accuracy": accuracy})
        commonest = probing.majority(task, train)
        records.append({"model": name, "task": task.name, "vector": "commonest", "layer": 0, "accuracy": commonest})
    return records


def soundness(
    model: LanguageModel, layer_maps: LayerMaps, parts: SubmoduleMaps, made: Export, mean_state: torch.Tensor
) -> Table:
    """A record for each layer and way to read rows: the mean percentiles of the sentence's own tokens and another's.

    Rows are those of a lambda less the mean one; mean_state: (H,) of h_L.
    """
    away = torch.from_numpy(made.lambdas - made.lambdas.mean(0))
    records: Table = []
    for layer in range(model.layers):
        found: dict[str, list[tuple[float, float]]] = {"directly": [], "by short-cut": []}
        for row in range(min(len(away), JUDGED)):
            images = reading.row_images(model, layer, away[row, layer]).flatten(0, 1)
            other = made.ids[(row + 1) % len(away)]
            scores = {
                "directly": reading.read_directly(model, images),
                "by short-cut": reading.read_by_shortcut(model, layer_maps, parts, layer, images, mean_state),
            }
            for way, values in scores.items():
                found[way].append(reading.own_tokens(values, made.ids[row], other))
        for way, pairs in found.items():
            own, others = np.mean(pairs, axis=0)
            records.append({"layer": layer + 1, "way": way, "own": float(own), "others": float(others)})
    return records


def listings(
    model: LanguageModel,
    layer_maps: LayerMaps,
    parts: SubmoduleMaps,
    examples: Export,
    mean_lambdas: np.ndarray,
    means: reading.TokenMeans,
    sentences: Sequence[str],
    tokenizer: Any,
    k: int,
) -> dict[str, Table]:
    """The tokens nearest to rows and columns, of the mean lambda and of what sentences add to it; and of keys."""
    rows: Table = []
    columns: Table = []
    keys: Table = []

    def texts(found: reading.Nearest, *place: int) -> list[str]:
        return [str(token) for token in tokenizer.convert_ids_to_tokens(found.ids[place].tolist())]

    subjects = {"all sentences": mean_lambdas} | {
        sentence: lambdas_of - mean_lambdas for sentence, lambdas_of in zip(sentences, examples.lambdas, strict=True)
    }
    for name, value in subjects.items():
        for layer in range(model.layers):
            lambda_ = torch.from_numpy(value[layer])
            images = reading.row_images(model, layer, lambda_)
            ways = {
                "directly": reading.nearest(reading.read_directly(model, images), k),
                "by short-cut": reading.nearest(
                    reading.read_by_shortcut(model, layer_maps, parts, layer, images, means.last), k
                ),
            }
            for head, row in reading.strongest(images.norm(dim=-1), LISTED):
                place = {"of": name, "layer": layer + 1, "head": head, "row": row}
                rows += [{**place, "way": way, "tokens": texts(found, head, row)} for way, found in ways.items()]
            fitting = reading.nearest(reading.column_scores(model, means, layer, lambda_), k)
            for (column,) in reading.strongest(lambda_.norm(dim=0), LISTED):
                for head in range(images.shape[0]):
                    place = {"of": name, "layer": layer + 1, "head": head, "column": column}
                    columns.append({**place, "tokens": texts(fitting, head, column)})
    for layer in range(model.layers):
        found = reading.key_tokens(means, layer, k)
        for row, intra in reading.strongest(found.scores[..., 0], LISTED):
            lifts = [round(float(score), 1) for score in found.scores[row, intra]]
            keys.append(
                {"layer": layer + 1, "row": row, "u": intra, "tokens": texts(found, row, intra), "lifts": lifts}
            )
    return {"rows": rows, "columns": columns, "keys": keys}
