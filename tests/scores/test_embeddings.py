"""Embeddings of early exits are what an encoder's user would get, and their scores what other libraries say."""

import pytest
import tiny
import torch
import torch.nn.functional as F
from invented import BOOTSTRAP, CARD, COST, LAYERS, SAMPLES

from linear_shortcuts.files import InputError, artifacts
from linear_shortcuts.maps.fitting import fit_maps
from linear_shortcuts.models.loading import wrap
from linear_shortcuts.scores import tables
from linear_shortcuts.scores.embeddings import chunk_files, embed_exits, join_chunks, score_embeddings
from linear_shortcuts.scores.records import card_of, load_early, load_fixed, save_fixed
from linear_shortcuts.states.extraction import extract


def encoder(linear=False):
    made = tiny.linear_model("bert") if linear else tiny.architecture("bert")
    return wrap(made.network.base_model, name="encoder")


def exits_of(model, number=40, tokens_per_batch=200):
    states = extract(model, tiny.tokens(model, 200, seed=1), 0, 200, 500).hidden_states
    maps, tokens = fit_maps(states), tiny.tokens(model, number, seed=2)
    return embed_exits(model, tokens, maps, tokens_per_batch), maps, tokens


def test_an_embedding_is_the_mean_of_the_mapped_states_of_all_tokens_that_are_no_padding():
    model = encoder()
    exits, maps, tokens = exits_of(model)
    for row, ids in enumerate(tokens.sentences):  # alone, so that there is no padding
        given = model.network(ids[None], output_hidden_states=True)
        states = given.hidden_states
        whole = F.normalize(given.last_hidden_state[0].mean(0), dim=0)
        torch.testing.assert_close(exits["id", model.layers][row], whole, atol=1e-5, rtol=1e-4)
        for layer in range(model.layers):
            mapped = states[layer][0] @ maps[layer, model.layers].T
            torch.testing.assert_close(exits["mat", layer][row], F.normalize(mapped.mean(0), dim=0), atol=1e-4, rtol=0)
            plain = F.normalize(states[layer][0].mean(0), dim=0)
            torch.testing.assert_close(exits["id", layer][row], plain, atol=1e-5, rtol=1e-4)


def test_batches_and_chunks_change_nothing():
    model = encoder()
    together, maps, tokens = exits_of(model)
    first, second = (embed_exits(model, tokens.part(*part), maps, 1) for part in ((0, 15), (15, 40)))
    chunks = [value for part in (first, second) for value in chunk_files(part, 0).values()]
    for one, other in zip(join_chunks(chunks), score_embeddings(together), strict=True):
        torch.testing.assert_close(one["cosine"], other["cosine"], atol=1e-5, rtol=0)


def test_an_encoder_of_linear_blocks_is_left_anywhere_without_loss():
    exits, _, _ = exits_of(encoder(linear=True))
    for record in score_embeddings(exits):
        if record["mapping"] == "mat":
            assert record["cosine"].min() > 1 - 1e-4
            assert record["recall"].mean() > 0.99
        elif record["layer"] == 0:
            assert record["recall"].mean() < 0.9  # not perfect whatever is offered


def invented():
    generator = torch.Generator().manual_seed(0)
    exits = {
        (mapping, layer): F.normalize(torch.randn(SAMPLES, 24, generator=generator) + layer, dim=1)
        for mapping in ("id", "mat")
        for layer in range(LAYERS)
    }
    last = F.normalize(torch.randn(SAMPLES, 24, generator=generator) + LAYERS, dim=1)
    return score_embeddings(exits | {(mapping, LAYERS): last for mapping in ("id", "mat")})


def test_the_files_of_an_encoder_come_back_and_odd_ones_are_refused(tmp_path):
    stored = sorted(invented(), key=lambda record: (record["mapping"], record["layer"]))
    card, path = card_of({**CARD, "files": {}}, CARD, CARD), tmp_path / "x.pickle"
    save_fixed(path, stored, torch.arange(SAMPLES), COST, card)
    value, _ = load_fixed(path, made_by="score.py")
    assert torch.equal(value["records"][3]["recall"], stored[3]["recall"])
    for wrong in (stored[1:], [{**stored[0], "cosine": stored[0]["cosine"] * torch.nan}, *stored[1:]]):
        save_fixed(path, wrong, torch.arange(SAMPLES), COST, card)
        with pytest.raises(InputError, match=r"run score\.py again$"):
            load_fixed(path, made_by="score.py")
    artifacts.save(path, {"records": [], "card": card})
    assert load_early(path, made_by="score.py")["records"] == []


def test_the_tables_of_an_encoder_are_plain_averages_and_the_others_are_empty():
    records = invented()
    table = tables.exits_table(records, BOOTSTRAP, 0)
    assert {record["panel"] for record in table} == set(tables.EMBEDDING_PANELS) == set(tables.headline(table))
    values = {(r["panel"], r["mapping"], r["layer"]): r for r in table}
    for record in records:
        for panel, key in ((tables.COSINE, "cosine"), (tables.RECALL, "recall")):
            found = values[panel, record["mapping"], record["layer"]]
            assert found["value"] == pytest.approx(float(record[key].double().mean()), abs=1e-6)
            assert found["low"] <= found["value"] + 1e-6  # which rounding may take beyond an interval of one point
            assert found["value"] <= found["high"] + 1e-6
    made = tables.plot_tables([], table, tables.early_exit_table([], records, COST, BOOTSTRAP, 0))
    assert [name for name, own in made.items() if own] == ["embeddings"]
    pairs = [{"mapping": mapping, "source": 0, "target": 1, "r2": 0.5} for mapping in ("mat", "id")]
    summary = tables.metrics("c", pairs, table, [], 0.95)
    middle = [values[tables.RECALL, "mat", layer]["value"] for layer in (1, 2)]
    assert summary["mat"]["recall_50"] == pytest.approx(sum(middle) / 2, abs=0.0051)
    assert summary["mat"]["saved"] is None
    assert not any(name.startswith("p1") for name in summary["mat"])
