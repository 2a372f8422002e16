"""From text to fitted matrices in one go: what is drawn, tokenized, recorded and fitted, with nothing kept in between.

What the pipeline makes of the same text and settings is the same, byte for byte; the recorded states, gigabytes of a
large model, are gone in the end. A killed run is taken up where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from linear_shortcuts.decoding import check_exits, check_ordinary, fit_exits
from linear_shortcuts.files import InputError, Partial, artifacts
from linear_shortcuts.files.cards import check_replaceable
from linear_shortcuts.maps import LayerMaps, fitting, linear_maps
from linear_shortcuts.models import LanguageModel, arithmetic
from linear_shortcuts.settings import Drawing
from linear_shortcuts.states import extraction, provenance, shards
from linear_shortcuts.text import Tokens, corpora, tokens

SHARD = 1500  # sentences: what a kill can cost at most
MEMORY_GIB = 4.0  # of the matrices that are summed up in one pass
WORK = ".linear-shortcuts"  # beside the maps while they are made; a name that nobody else gives a folder
Bar = Callable[..., Any]  # as tqdm


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is fitted, on what text."""

    drawing: Drawing
    targets: Literal["all", "last"] = "all"  # every pair of layers, or only the maps to the last one
    positions: extraction.Positions = "sampled"  # one token of each sentence, or all
    parts: bool = False  # and a matrix that stands in for each sub-step of every block
    exits: Sequence[int] | None = None  # layers that generation may leave at, for which shortcuts are fitted
    tokens_per_batch: int = extraction.TOKENS_PER_BATCH


def fit_text(
    model: LanguageModel,
    tokenizer: Any,
    described: dict[str, Any],
    recipe: Recipe,
    folder: Path,
    bar: Bar = tqdm,
) -> LayerMaps:
    """Fit the matrices between a model's layers on some text, into folder/layers; progress is told to `bar`.

    Those of parts go into folder/submodules, and what early exit needs of the exits asked for into folder/shortcuts.
    described: the tokenizer, as `text.tokens.describe_tokenizer` has it.

    Returns the former with their card. Raises `InputError` for a text with fewer sentences than the recipe asks for,
    or fewer vectors than the model is wide, for parts of a model of which they are not known, for exits that it cannot
    be left at, and for a folder where something else would be lost.
    """
    if recipe.parts and not model.family.steps:
        raise InputError(f"{model.name} was read by structure, so the parts of its blocks are not known; fit no parts")
    if recipe.exits is not None:
        check_exits(recipe.exits, model)
    check_folder(folder)
    work = folder / WORK
    read, card = _read(model, tokenizer, described, recipe, work, bar)
    if recipe.exits is not None:
        check_ordinary(read, recipe.positions, model.width)  # before anything is fitted
    states = _record(model, read, card, recipe, work, bar)
    _fit(model, states, recipe, work, folder / "layers", bar)
    if recipe.parts:
        _fit_parts(model, states, work, folder / "submodules", bar)
    if recipe.exits is not None:
        asked = {"states": states.fingerprint, "device": model.device.type}
        with Partial("exits", "train", asked, root=work, code=__file__) as partial:
            fit_exits(model, states, read, partial, exits=recipe.exits, bar=bar).save(folder / "shortcuts")
    shutil.rmtree(work)
    return LayerMaps.load(folder / "layers", model)


def check_folder(folder: Path) -> None:
    """Raise `InputError` where maps cannot be fitted into a folder, or would take the place of something else."""
    for name in ("layers", "submodules", "shortcuts"):
        check_replaceable(folder / name)


def _read(
    model: LanguageModel, tokenizer: Any, described: dict[str, Any], recipe: Recipe, work: Path, bar: Bar
) -> tuple[Tokens, dict[str, Any]]:
    """The train sentences as tokens, and what they say of themselves."""
    drawing, corpus = recipe.drawing, recipe.drawing.chosen_corpus
    numbers = drawing.sentences
    split, splitter = corpora.choose_splitter(corpus)
    articles: Iterable[str] = corpora.read_articles(corpus, drawing.seed)
    articles = bar(articles, desc=f"{model.name}: read {drawing.corpus}", unit=" texts", disable=None)
    drawn = corpora.draw(corpus, articles, split, numbers.train, numbers.validation, drawing.seed)
    whole = {**corpora.card_of(drawing), "split_by": splitter}
    sentences = {"train": drawn.train, "validation": drawn.validation, "card": whole}
    sha256 = artifacts.save(work / "sentences.pickle", sentences)
    most = tokens.limit(tokenizer, model.max_tokens, None)
    made = tokens.tokenize(
        drawn.train,
        tokenizer,
        causal=model.family.causal,
        max_tokens=most,
        seed=drawing.seed,
        compatibility=drawing.compatibility,
    )
    rows = extraction.count_vectors(made, recipe.positions)
    tokens.check_rows(rows, model.width)
    tokens.check_fit(made, model.vocabulary, model.max_tokens, drawing.corpus, model.mask_token)
    card = {**tokens.card_of(drawing, described, most, "train"), "corpus": whole, "sentences_sha256": sha256}
    tokens.save_tokens(work / "tokens.pickle", made, card)
    return made, card


def _record(
    model: LanguageModel, read: Tokens, tokens_card: dict[str, Any], recipe: Recipe, work: Path, bar: Bar
) -> shards.HiddenStates:
    """The states of those tokens, shard by shard on disk."""
    sha256 = artifacts.file_sha256(work / "tokens.pickle")
    vectors, corpus = extraction.count_vectors(read, recipe.positions), recipe.drawing.corpus
    card = provenance.states_card(
        model, tokens_card, sha256, corpus, "train", len(read), vectors=vectors, positions=recipe.positions
    )
    asked = {"card": card, "batch": recipe.tokens_per_batch, "device": model.device.type}
    with Partial("states", "train", asked, root=work, code=__file__) as partial:
        todo = [shard for shard in shards.shard_ranges(len(read), SHARD) if shard[0] not in partial]
        with (
            arithmetic("float32", model.device),
            bar(total=len(read), desc=f"{model.name}: record", unit=" sentences", disable=None) as shown,
        ):
            shown.update(len(read) - sum(last - first for _, first, last in todo))
            for number, first, last in todo:
                shard = extraction.extract(model, read, first, last, recipe.tokens_per_batch, recipe.positions)
                partial.save(number, shards.shard_files(shard, number))
                shown.update(last - first)
        partial.publish(work / "hidden", card)
    return shards.HiddenStates.open(work / "hidden")


def _fit(model: LanguageModel, states: shards.HiddenStates, recipe: Recipe, work: Path, folder: Path, bar: Bar) -> None:
    """The matrices, source layer by source layer, and their card."""
    layers = model.layers
    targets = {i: fitting.layer_targets(i, layers, recipe.targets) for i in range(layers)}
    asked = {"states": states.fingerprint, "targets": recipe.targets, "device": model.device.type}
    with Partial("maps", "train", asked, root=work, code=__file__) as partial:
        todo = [i for i in targets if i not in partial]
        with bar(
            total=layers, initial=layers - len(todo), desc=f"{model.name}: fit", unit=" layers", disable=None
        ) as shown:
            for source, solution in fitting.fit_layers(
                todo, states, layers, recipe.targets, model.device, width=model.width, memory_gib=MEMORY_GIB
            ):
                files = linear_maps.layer_files(source, targets[source], solution.matrices)
                partial.save(source, files, note=solution.rank)
                shown.update()
        ranks = {str(i): partial.note(i) for i in targets}
        partial.publish(folder, provenance.maps_card(states.card, ranks))


def _fit_parts(model: LanguageModel, states: shards.HiddenStates, work: Path, folder: Path, bar: Bar) -> None:
    """The stand-ins of sub-steps, block by block, and their card."""
    blocks, steps = range(model.layers), range(len(model.family.steps))
    asked = {"states": states.fingerprint, "device": model.device.type}
    with Partial("parts", "train", asked, root=work, code=__file__) as partial:
        todo = [block for block in blocks if block not in partial]
        with bar(
            total=len(blocks),
            initial=len(blocks) - len(todo),
            desc=f"{model.name}: fit parts",
            unit=" blocks",
            disable=None,
        ) as shown:
            for block, solutions in fitting.fit_parts(model, todo, states, "float32", MEMORY_GIB):
                matrices = [solution.matrices[0] for solution in solutions]
                files = linear_maps.submodule_files(block, model.family.sources, matrices)
                partial.save(block, files, note=[solution.rank for solution in solutions])
                shown.update()
        ranks = {f"p{block}_{step}": partial.note(block)[step] for block in blocks for step in steps}
        partial.publish(folder, provenance.maps_card(states.card, ranks))
