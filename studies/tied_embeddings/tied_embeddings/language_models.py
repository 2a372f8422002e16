"""Input against output embeddings of language models, and what the text itself says about tying them.

A token has two roles. As an input it changes what is predicted around it; as an output it is predicted from what is
around it. For a causal model the first is seen in what follows the token, the second in what precedes it: in
P(next | token) and P(previous | token), which are counted here. The distributional hypothesis says that two tokens
alike in one role are alike in the other. A masked model reads and predicts on both sides, so that at this level its two
roles are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import WORK, InputError, Partial, artifacts, atomic
from linear_shortcuts.models import load_registered, load_tokenizer
from linear_shortcuts.settings import Model, Params, Training, known
from linear_shortcuts.text import encode
from linear_shortcuts.training import judgement, loop, tokenizers
from tied_embeddings.settings import STUDY
from tied_embeddings.text_settings import LanguageModels

ROLES = ("input", "output")

# --- what the text says ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Roles:
    """How F tokens are used in a text.

    following, preceding: (F, V) float64, P(next token | token) and P(previous token | token); rows sum to 1.
    """

    tokens: Tensor  # (F,) int64, the commonest first
    counts: Tensor  # (F,) how often each has both neighbours
    following: Tensor
    preceding: Tensor

    def distances(self, role: str, causal: bool) -> Tensor:
        """Hellinger distances (F, F) between tokens in a role: 0 where equivalent, 1 where nothing is shared."""
        if causal:
            return hellinger(self.following if role == "input" else self.preceding)
        return hellinger(torch.cat([self.following, self.preceding], 1) / 2)


def count_roles(sentences: Sequence[Sequence[int]], number: int, vocabulary: int, special: Sequence[int]) -> Roles:
    """Count neighbours of the `number` commonest tokens, over occurrences that have both neighbours in the sentence.

    Raises `InputError` if the text has fewer different tokens.
    """
    triples = torch.cat(
        [torch.tensor(ids).unfold(0, 3, 1) for ids in sentences if len(ids) >= 3] or [torch.empty(0, 3)]
    )
    triples = triples.long()
    counts = torch.bincount(triples[:, 1], minlength=vocabulary)
    counts[list(special)] = 0
    if int((counts > 0).sum()) < number:
        raise InputError(
            f"the text has {int((counts > 0).sum())} different tokens, but tokens is {number}; lower it, or take a "
            "larger corpus"
        )
    tokens = counts.argsort(descending=True, stable=True)[:number]
    row_of = torch.full((vocabulary,), -1)
    row_of[tokens] = torch.arange(number)
    triples = triples[row_of[triples[:, 1]] >= 0]
    rows = row_of[triples[:, 1]]
    sides = [
        torch.bincount(rows * vocabulary + triples[:, place], minlength=number * vocabulary).view(number, vocabulary)
        for place in (2, 0)
    ]
    following, preceding = (side.double() / side.sum(1, keepdim=True) for side in sides)
    return Roles(tokens, counts[tokens], following, preceding)


def hellinger(distributions: Tensor) -> Tensor:
    """Hellinger distances (n, n) between the rows of (n, m), each of sum 1: from 0, equal, to 1, disjoint."""
    roots = distributions.sqrt()
    return (1 - roots @ roots.T).clamp(min=0).sqrt().fill_diagonal_(0)


# --- how alike two geometries are ----------------------------------------------------------------------------


def cosine_distances(vectors: Tensor) -> Tensor:
    """1 - cos between the rows of (n, d): (n, n). Unlike Euclidean ones, blind to norms, which follow frequency."""
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    return 1 - unit @ unit.T


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's correlation of two matrices of distances (n, n), over the pairs above the diagonal."""
    from scipy.stats import spearmanr

    rows, columns = torch.triu_indices(len(first), len(first), 1)
    return float(spearmanr(first[rows, columns].numpy(), second[rows, columns].numpy()).statistic)


def shared_neighbors(first: Tensor, second: Tensor, number: int) -> float:
    """Mean share of each row's `number` nearest others that two matrices of distances (n, n) have in common.

    By chance it is number / (n - 1).
    """
    sets = []
    for matrix in (first, second):
        others = matrix.clone().fill_diagonal_(torch.inf)
        nearest = others.argsort(dim=1, stable=True)[:, :number]
        sets.append(torch.zeros_like(others, dtype=torch.bool).scatter_(1, nearest, True))
    return float((sets[0] & sets[1]).sum() / (len(first) * number))


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, eq. 5) of vectors (n, d1) and (n, d2), from 0 to 1."""
    first, second = (vectors.double() - vectors.double().mean(0) for vectors in (first, second))
    cross = torch.linalg.matrix_norm(first.T @ second) ** 2
    return float(cross / (torch.linalg.matrix_norm(first.T @ first) * torch.linalg.matrix_norm(second.T @ second)))


# --- pairs of tokens -----------------------------------------------------------------------------------------


def choose_pairs(roles: Roles, causal: bool, number: int, seed: int) -> dict[str, Tensor]:
    """Groups of `number` pairs of rows, (number, 2) each, by how the text uses the two tokens.

    `alike`: most alike in both roles. `output alike`: alike as outputs but not as inputs, and `input alike` the other
    way round, where the roles differ; these break the distributional hypothesis. `random`: any pairs.
    """
    rows, columns = torch.triu_indices(len(roles.tokens), len(roles.tokens), 1)
    ranks = {}
    for role in ROLES:
        distances = roles.distances(role, causal)[rows, columns]
        ranks[role] = distances.argsort(stable=True).argsort().double()
    scores = {"alike": ranks["input"] + ranks["output"]}
    if causal:
        scores["output alike"] = ranks["output"] - ranks["input"]
        scores["input alike"] = ranks["input"] - ranks["output"]
    scores["random"] = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).double()
    pairs = torch.stack([rows, columns], 1)
    return {group: pairs[score.argsort(stable=True)[:number]] for group, score in scores.items()}


# --- one model -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """A language model, where it came from, and, if it was trained here, how that went."""

    network: Any  # a Hugging Face model with its prediction head
    tokenizer: Any
    causal: bool
    about: Mapping[str, Any]  # JSON-able: identity, or settings and held-out loss
    losses: Tensor | None = None  # (steps,) of every training step, nats per predicted token

    def embeddings(self) -> dict[str, Tensor]:
        """The input and the output embeddings, (V, d) each; the same values where they are tied.

        Raises `InputError` if the head has no matrix with a row a token.
        """
        found = {}
        layers = {"input": self.network.get_input_embeddings(), "output": self.network.get_output_embeddings()}
        for role, layer in layers.items():
            weight = getattr(layer, "weight", None)
            if weight is None or weight.ndim != 2:
                raise InputError(f"{type(self.network).__name__} has no matrix of {role} embeddings; choose another")
            found[role] = weight.detach().float().cpu()
        return found


def registered(entry: Model, name: str) -> Subject:
    """A model of the project's registry."""
    model = load_registered(entry, name, "cpu")
    tokenizer = load_tokenizer(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code)
    return Subject(model.network, tokenizer, model.family.causal, dict(model.identity))


def measure(subject: Subject, sentences: Sequence[str], settings: LanguageModels) -> dict[str, Any]:
    """How alike the two embeddings of the commonest tokens are, and how each reflects the roles of tokens in a text."""
    vectors = subject.embeddings()
    encoded = encode(subject.tokenizer, sentences, add_special_tokens=False)["input_ids"]
    roles = count_roles(encoded, settings.tokens, len(vectors["input"]), subject.tokenizer.all_special_ids)
    chosen = {role: vectors[role][roles.tokens] for role in ROLES}
    learned = {role: cosine_distances(chosen[role]) for role in ROLES}
    counted = {role: roles.distances(role, subject.causal) for role in ROLES}
    groups = choose_pairs(roles, subject.causal, settings.pairs, settings.seed)
    names = subject.tokenizer.convert_ids_to_tokens(roles.tokens.tolist())
    return {
        "about": dict(subject.about),
        "tied": torch.equal(vectors["input"], vectors["output"]),
        "causal": subject.causal,
        "parameters": sum(parameter.numel() for parameter in subject.network.parameters()),
        "tokens": len(roles.tokens),
        "least_count": int(roles.counts.min()),
        "agreement": {
            "rank_correlation": rank_correlation(learned["input"], learned["output"]),
            "shared_neighbors": shared_neighbors(learned["input"], learned["output"], settings.neighbors),
            "linear_cka": linear_cka(chosen["input"], chosen["output"]),
        },
        "text_agreement": rank_correlation(counted["input"], counted["output"]),
        "text_shared_neighbors": shared_neighbors(counted["input"], counted["output"], settings.neighbors),
        "chance_neighbors": settings.neighbors / (len(roles.tokens) - 1),
        "learned_and_counted": {
            role: {other: rank_correlation(learned[role], counted[other]) for other in ROLES} for role in ROLES
        },
        "pairs": [
            {
                "group": group,
                "tokens": [names[first], names[second]],
                **{role: float((chosen[role][first] - chosen[role][second]).norm()) for role in ROLES},
                **{f"counted_{role}": float(counted[role][first, second]) for role in ROLES},
            }
            for group, pairs in groups.items()
            for first, second in pairs.tolist()
        ],
    }


def folder_of(corpus: str, label: str) -> Path:
    """Where stage 05 puts what it found; label: a key of the registry, or a shape and its variant."""
    return STUDY / "data" / "language_models" / corpus / label


def save(folder: Path, subject: Subject, result: Mapping[str, Any]) -> None:
    """Write `measures.json` and, of a model trained here, `losses.pickle` and `model/`."""
    with atomic.atomic_folder(folder) as coming:
        artifacts.save_json(coming / "measures.json", result)
        if subject.losses is not None:
            artifacts.save(coming / "losses.pickle", subject.losses)
            subject.network.save_pretrained(coming / "model")
            subject.tokenizer.save_pretrained(coming / "model")


# --- training ------------------------------------------------------------------------------------------------


def training_settings(params: Params, shape: str, settings: LanguageModels, tied: bool) -> Training:
    """The project's settings of a shape with the study's budget; warm-up and full rows keep their shares."""
    known("--model", shape, params.training, "training of the project's params.yaml")
    known("--model", shape, settings.steps, "language_models.steps of the study's params.yaml")
    whole, steps = params.training[shape], settings.steps[shape]
    share, full = steps / whole.steps, whole.full_context_steps
    context = settings.context or whole.context
    grows = whole.short_context is not None and whole.short_context < context
    return replace(
        whole,
        layers=settings.layers or whole.layers,
        context=context,
        short_context=whole.short_context if grows else None,
        steps=steps,
        batch=settings.batch,
        warmup_steps=round(share * whole.warmup_steps),
        full_context_steps=round(share * full) if grows and full is not None else None,
        steps_per_checkpoint=settings.steps_per_checkpoint,
        tied=tied,
    )


def trained(
    params: Params,
    settings: LanguageModels,
    shape: str,
    tied: bool,
    sentences: Mapping[str, Sequence[str]],
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    work: Path = WORK,
) -> Subject:
    """Train a shape of the project's `training` with its own tokenizer, on the train sentences.

    Tied and untied models see the same batches with the same masks, so that their losses differ by the model alone.
    """
    options = training_settings(params, shape, settings, tied)
    entry = params.model(shape)
    tokenizer = load_tokenizer(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code)
    rows = {context: tokenizers.pack([list(sentences["train"])], tokenizer, context) for context in options.contexts}
    recipe = {"settings": vars(options), "text": artifacts.fingerprint([row.tolist() for row in rows.values()])}
    with Partial(
        "tied_embeddings/05_measure_language_models", f"{shape}_{tied}", recipe, work, code=__file__
    ) as partial:
        recent: list[float] = []

        def keep(step: int, loss: float) -> None:
            recent.append(loss)
            if step % options.steps_per_checkpoint == 0 or step == options.steps:
                # Before the checkpoint: killed in between, both are made again, to the same bytes.
                losses = torch.tensor(recent, dtype=torch.float64)
                partial.save(f"losses {step}", {f"losses_{step:08d}.pickle": losses})
                recent.clear()
            on_step(step, loss)

        model = loop.train(options, rows, tokenizer, partial, keep)
        every = options.steps_per_checkpoint
        ends = sorted({*range(every, options.steps + 1, every), options.steps})
        losses = torch.cat([partial.load(f"losses_{end:08d}.pickle") for end in ends])
        partial.forget_others()
    held_out = tokenizers.pack([list(sentences["validation"])], tokenizer, options.context)
    result = judgement.evaluate(model, options, held_out, tokenizer)
    return Subject(
        model, tokenizer, options.masked is None, {"training": vars(options), "held_out": vars(result)}, losses
    )
