"""How linear is the road through a model, and through the part of it in which tokens meet? The main pipeline's
measurements of one masked model, in memory, and two of the study's own.

To the main pipeline's five mappings come two that say what a part is worth: `no_attn` and `no_ffn` put nothing in its
place, in every block from the exit on, where `mat_attn` and `mat_ffn` put a matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lambda_bert.models import new_model
from lambda_bert.settings import EARLY, Settings
from linear_shortcuts.files import InputError, artifacts
from linear_shortcuts.maps import LayerMaps, SubmoduleMaps, fitting, linear_maps
from linear_shortcuts.models import LanguageModel, cost, loading, longest, stand_in_steps
from linear_shortcuts.scores import early_exit, exits, measures, tables
from linear_shortcuts.settings import SPLITS, Params, choose_device, known, sentences_file
from linear_shortcuts.states import Shard, extraction, shards
from linear_shortcuts.text import Tokens, tokens

MADE_BY = "studies/lambda_bert/05_shortcut.py"
WITHOUT = {"no_attn": "mat_attn", "no_ffn": "mat_ffn"}  # what puts nothing, and what a matrix, in the same place


def load_sentences(params: Params) -> dict[str, list[str]]:
    """The main pipeline's sentences, `train` and `validation`."""
    saved = tokens.load_sentences(sentences_file(params.corpus), params, made_by="stages/01_fetch_sentences.py")
    return {split: saved[split] for split in SPLITS}


def load_subject(settings: Settings, params: Params, name: str, device: str) -> tuple[LanguageModel, Any]:
    """One of the study's models, or of the main pipeline's registry, and its tokenizer."""
    if name in settings.subjects:
        folder = settings.folders.model(name)
        if not (folder / "config.json").is_file():
            kind = name.removeprefix("distilled-")
            script = f"02_pretrain.py --model {kind}" if kind == name else f"04_distil.py --model {kind}"
            script = "10_match_loss.py" if name == EARLY else script
            raise InputError(f"{folder} has no model; run studies/lambda_bert/{script} first")
        return loading.load_model(folder, name=name, device=device), loading.load_tokenizer(folder)
    others = (*settings.shortcuts.beside, settings.distil.teacher)
    known("--model", name, dict.fromkeys((*settings.subjects, *others)), "models or shortcuts.beside")
    entry = params.model(name)
    tokenizer = loading.load_tokenizer(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code)
    return loading.load_registered(entry, name, device), tokenizer


def untrained(settings: Settings, tokenizer: Any, longest: int, device: str) -> Any:
    """A LambdaBERT as pre-training begins with, for sentences of up to so many tokens, in evaluation mode."""
    network = new_model("lambdabert", settings.shape, tokenizer, longest, settings.task, settings.seed)
    return network.to(choose_device(device)).eval()


def load_maps(settings: Settings, model: LanguageModel) -> tuple[LayerMaps, SubmoduleMaps]:
    """The layer maps and stand-ins that stage 05 fitted of a model."""
    folder = settings.folders.shortcuts(model.name)
    made_with = artifacts.load_mapping(folder / "scores.pickle", "card", made_by=MADE_BY)["card"]["model"]
    if made_with["weights_sha256"] != model.identity["weights_sha256"]:
        raise InputError(f"{folder} is of other weights than {model.identity['id']}; run {MADE_BY} again")
    return LayerMaps.load(folder / "layers", model), SubmoduleMaps.load(folder / "submodules", model)


def tokenize(
    model: LanguageModel, tokenizer: Any, sentences: dict[str, list[str]], params: Params
) -> dict[str, Tokens]:
    limit = tokens.limit(tokenizer, longest(model.network.config, model.family), params.tokenize.max_tokens)
    return {
        split: tokens.tokenize(texts, tokenizer, causal=model.family.causal, max_tokens=limit, seed=params.seed)
        for split, texts in sentences.items()
    }


def extract(model: LanguageModel, sentences: Tokens, params: Params, steps: Callable[[Any], Any]) -> Shard:
    """The states and attention outputs of all sentences; steps: wraps the shards to show progress."""
    ranges = list(shards.shard_ranges(len(sentences), params.extract.sentences_per_shard))
    parts = [
        extraction.extract(model, sentences, first, last, params.extract.tokens_per_batch)
        for _, first, last in steps(ranges)
    ]
    return Shard(
        torch.cat([part.hidden_states for part in parts], dim=1),
        torch.cat([part.attention_outputs for part in parts], dim=1),
    )


def fit(model: LanguageModel, shard: Shard, folder: Path) -> tuple[LayerMaps, SubmoduleMaps]:
    """Fit every layer map and every stand-in, as files in `layers/` and `submodules/` of a folder."""
    layers = model.layers
    for source, moments in fitting.layer_moments(range(layers), [shard], layers, "all", model.device).items():
        targets = fitting.layer_targets(source, layers, "all")
        for name, matrix in linear_maps.layer_files(source, targets, moments.solve().matrices).items():
            artifacts.save(folder / "layers" / name, matrix)
    for block, steps in fitting.submodule_moments(model, range(layers), [shard]).items():
        matrices = [moments.solve().matrices[0] for moments in steps]
        for name, matrix in linear_maps.submodule_files(block, model.family.sources, matrices).items():
            artifacts.save(folder / "submodules" / name, matrix)
    return LayerMaps.load(folder / "layers", model), SubmoduleMaps.load(folder / "submodules", model)


def score(
    model: LanguageModel,
    sentences: Tokens,
    shard: Shard,
    layer_maps: LayerMaps,
    submodule_maps: SubmoduleMaps,
    params: Params,
    steps: Callable[[Any], Any],
) -> dict[str, Any]:
    """r2 of layer maps and of stand-ins, the read-outs of all mappings at all exits, and early exits."""
    jumps = {"mat": layer_maps.jump, "id": lambda states, source, target: states}
    r2 = measures.explained_pairs([shard.hidden_states.to(model.device)], jumps, list(layer_maps))
    chunks = []
    for _, first, last in steps(list(shards.shard_ranges(len(sentences), params.exits.sentences_per_chunk))):
        states, part = shard.hidden_states[:, first:last].to(model.device), sentences.part(first, last)
        room = params.extract.tokens_per_batch
        guesses = exits.layer_guesses(states, layer_maps)
        guesses |= exits.part_guesses(model, part, submodule_maps, room)
        empty = exits.part_guesses(model, part, _Nothing(), room)  # type: ignore[arg-type]
        guesses |= {without: empty[mapping] for without, mapping in WITHOUT.items()}
        readouts = exits.score_exits(model, states, guesses)
        chunks.append({key: vars(readout) for key, readout in readouts.items()})
    records = exits.join_chunks(chunks)
    r2_table = tables.r2_table(r2)
    exits_table = tables.exits_table(records, params.bootstrap, params.seed)
    early = _early_exits(model, records, sentences, params)
    summary = tables.metrics(params.corpus, r2_table, exits_table, early, params.early_exit.precision)
    parts = part_scores(model, shard, submodule_maps)
    return {"r2": r2_table, "parts": parts, "exits": exits_table, "metrics": summary}


def _early_exits(
    model: LanguageModel, records: list[dict[str, Any]], sentences: Tokens, params: Params
) -> list[dict[str, Any]]:
    counted = cost.count(model, sentences.lengths, sentences.positions)
    early = []
    for mapping, more in (("mat", ()), ("id", params.early_exit.id_lambdas)):
        readouts = sorted((r for r in records if r["mapping"] == mapping), key=lambda record: record["layer"])
        early += early_exit.sweep(
            readouts, sentences.positions, sorted(params.early_exit.lambdas + more), mapping, counted
        )
    return early


class _Nothing:
    """Zero as the stand-in of everything."""

    def stand_ins(self, model: LanguageModel, part: str) -> list[dict[int, Tensor]]:
        zero = torch.zeros(model.width, model.width, device=model.device)
        return [dict.fromkeys(stand_in_steps(model.family, part), zero) for _ in range(model.layers)]


@torch.inference_mode()
def part_scores(model: LanguageModel, shard: Shard, submodule_maps: SubmoduleMaps) -> list[dict[str, Any]]:
    """How well a matrix stands in for attention, feed-forward network and norms: a record for each block and step.

    r2: of the step's output from its input. share: the variance of the output, relative to that of the sum with the
    stream that follows (attention and feed-forward network only).
    """
    records = []
    for block in range(model.layers):
        recorded = shard.attention_outputs[block].to(model.device)
        sites = model.sites(block, shard.hidden_states[block].to(model.device), partial(_seen, recorded))
        for a, (step, source) in enumerate(zip(model.family.steps, model.family.sources, strict=True)):
            if step.part == "residual":
                continue
            made = sites[source] @ submodule_maps[block, source, a + 1].to(model.device).T
            follows = model.family.steps[a + 1].part == "residual" if a + 1 < len(model.family.steps) else False
            share = float(sites[a + 1].var(0).sum() / sites[a + 2].var(0).sum()) if follows else None
            explained = measures.r2(sites[a + 1], made)
            records.append({"block": block, "step": a, "part": step.part, "r2": explained, "share": share})
    return records


def _seen(output: Tensor, states: Tensor) -> Tensor:
    return output
