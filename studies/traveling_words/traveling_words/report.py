"""What the stages saved, put together: every table, text, figure and number of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linear_shortcuts.files import InputError, artifacts
from linear_shortcuts.models import load_tokenizer
from traveling_words import tables
from traveling_words.settings import Folders, Settings
from traveling_words.subject import Vocabulary
from traveling_words.tables import Table

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Found:
    """What stages 01 to 04 saved of one model."""

    embeddings: Mapping[str, Any]
    nouns: Mapping[int, Mapping[str, Any]]  # by block
    nouns_card: Mapping[str, Any]
    heads: Mapping[int, Mapping[str, Any]]
    heads_card: Mapping[str, Any]
    path: Mapping[str, Any]


def load(folders: Folders) -> Found:
    """Load what the stages saved; `InputError` names the stage to run first, or two files of different models."""
    embeddings = artifacts.load(folders.embeddings, made_by="studies/traveling_words/01_measure_embeddings.py")
    nouns, nouns_card = _blocks(folders.nouns, "studies/traveling_words/02_probe_nouns.py")
    heads, heads_card = _blocks(folders.heads, "studies/traveling_words/03_probe_heads.py")
    path = artifacts.load(folders.trajectory, made_by="studies/traveling_words/04_follow_phrase.py")
    weights = {card["weights_sha256"] for card in (embeddings["card"], nouns_card, heads_card, path["card"])}
    if len(weights) > 1:
        raise InputError(
            f"the results for {folders.model} come from different weights; run stages 01 to 04 of the study again"
        )
    if nouns_card["blocks"] != heads_card["blocks"]:
        raise InputError(
            f"the nouns were probed in blocks {nouns_card['blocks']}, the heads in {heads_card['blocks']}; "
            "run stages 02 and 03 of the study again"
        )
    return Found(embeddings, nouns, nouns_card, heads, heads_card, path)


def _blocks(folder: Path, made_by: str) -> tuple[dict[int, Any], dict[str, Any]]:
    card = artifacts.load_json(folder / "card.json", made_by=made_by)
    names = {block: f"block_{block}.pickle" for block in card["blocks"]}
    return {
        block: artifacts.load(folder / name, made_by=made_by, sha256=card["files"][name])
        for block, name in names.items()
    }, card


def load_vocabulary(settings: Settings) -> Vocabulary:
    """The tokens of the model that params.yaml names, without its weights."""
    entry = settings.registered()
    return Vocabulary(load_tokenizer(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code))


def tables_of(found: Found, vocabulary: Vocabulary) -> dict[str, Table]:
    """Every table by its name."""
    text, words = vocabulary.text, found.nouns_card["nouns"]
    scores = (found.embeddings["extremes"], found.embeddings["scores"])
    return {
        "embedding_distances": found.embeddings["distances"]["rows"],
        "token_scores": tables.score_records(*scores, text, vocabulary.bytes),
        "noun_keys": tables.key_records(found.nouns, words, text),
        "noun_values": tables.value_records(found.nouns, words, text),
        "singular_pairs": tables.singular_records(found.heads, text),
        "singular_coverage": tables.coverage_records(found.heads),
        "singular_reach": tables.reach_records(found.heads),
        "bias_probes": tables.bias_records(found.heads, text),
        "approach": tables.approach_records(found.path["approach"], text),
    }


def texts_of(found: Found, records: Mapping[str, Table], words: int) -> dict[str, str]:
    """The logs and the LaTeX tables by file name; words: nearest tokens on each side in the latter."""
    distance = found.heads_card["distance"]  # None for a model without rotary positions
    rotary = None if distance is None else tables.rotary(distance)
    about = f"Model {found.heads_card['model']}"
    nouns = (
        f"{about}: {len(found.nouns_card['ids'])} nouns, {found.nouns_card['dropped']} of the list are not one token."
    )
    qk = f"{about}. {rotary}" if rotary else f"{about}."
    bias = f"{about}. {tables.CANCELS_ROTARY if rotary else tables.CANCELS}"
    fragments = {
        f"svd_{matrix}_block_{block}.tex": tables.singular_latex(records["singular_pairs"], matrix, block, words)
        for matrix in tables.MATRICES
        for block in found.heads
    }
    return {
        "common_noun_logs_qk.txt": tables.noun_log(
            records["noun_keys"], "keys", f"{nouns} {rotary}" if rotary else nouns
        ),
        "common_noun_logs_vo.txt": tables.noun_log(records["noun_values"], "values", nouns),
        "svd_qk_logs.txt": tables.singular_log(records["singular_pairs"], "qk", qk),
        "svd_vo_logs.txt": tables.singular_log(records["singular_pairs"], "vo", f"{about}."),
        "key_query_bias_logs.txt": tables.bias_log(records["bias_probes"], bias),
        **fragments,
    }


def figures_of(found: Found, records: Mapping[str, Table], vocabulary: Vocabulary, about: str) -> dict[str, Figure]:
    """Every figure by its name; about: the model."""
    from traveling_words import figures

    tokens = _phrase(found, vocabulary)
    follow = found.path["follow"]
    return {
        "sphere": figures.sphere(),
        "token_scores": figures.token_scores(records["token_scores"], about),
        "update_norms": figures.update_norms(records["noun_values"], about),
        **{
            f"coverage_block_{block}": figures.coverage(records["singular_coverage"], block, about)
            for block in found.heads
        },
        "trajectory_panels": figures.trajectory_panels(found.path, tokens, about),
        "trajectory_path": figures.trajectory_path(found.path, tokens, about),
        "approach": figures.approach(records["approach"], tokens[follow], tokens[follow + 1], about),
    }


def page_of(found: Found, vocabulary: Vocabulary, about: str) -> str:
    """The trajectory as an HTML page that can be turned."""
    from traveling_words.page import trajectory_page

    return trajectory_page(found.path, _phrase(found, vocabulary), about)


def plot_tables(records: Mapping[str, Table]) -> dict[str, Table]:
    """The tables that `dvc plots show` draws, by the name of their folder; `series` tells the lines apart."""
    coverage = [
        {**record, "series": f"block {record['block']} head {record['head']}", "panel": f"W_{record['matrix'].upper()}"}
        for record in records["singular_coverage"]
    ]
    norms = [
        {**{key: record[key] for key in ("block", "noun", "head", "norm")}, "panel": f"block {record['block']}"}
        for record in records["noun_values"]
    ]
    approach = [
        {"layer": record["layer"], "panel": panel, "series": series, "value": float(record[key])}
        for record in records["approach"]
        for panel, series, key in (
            ("cosine", "to the next word", "cosine"),
            ("cosine", "mean of all words", "mean_cosine"),
            ("distance", "to the next word", "distance"),
            ("distance", "mean of all words", "mean_distance"),
            ("rank", "by logit", "rank"),
            ("rank", "by cosine", "cosine_rank"),
        )
    ]
    return {"coverage": coverage, "norms": norms, "approach": approach}


def metrics_of(found: Found) -> dict[str, Any]:
    """The numbers that sum the study of one model up."""
    return tables.metrics(found.embeddings, found.nouns, found.nouns_card, found.heads, found.heads_card, found.path)


def _phrase(found: Found, vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.text(token) for token in found.path["ids"].tolist()]
