"""Exits fitted from recorded states, against scikit-learn; kept exit by exit, the same bytes each time."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import LinearRegression

from linear_shortcuts.decoding import Shortcuts, fit_exits, generate, spread_exits
from linear_shortcuts.decoding.exit_fits import check_ordinary, fit_exit, ordinary
from linear_shortcuts.files import InputError, Partial
from linear_shortcuts.text import Tokens

ROWS = 90


def random_states(layers, seed=0, rows=ROWS):
    generator = torch.Generator().manual_seed(seed)
    offset = torch.randn(layers + 1, 1, tiny.WIDTH, generator=generator)
    return torch.randn(layers + 1, rows, tiny.WIDTH, generator=generator) + offset


def agrees(affine, source, target):
    fitted = LinearRegression().fit(source, target)
    torch.testing.assert_close(affine(source), torch.tensor(fitted.predict(source)), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(affine.bias, torch.tensor(fitted.intercept_), atol=2e-3, rtol=2e-3)


@torch.no_grad()
def keys_and_values(model, block, states):
    """What the projections of a block make of states that enter it, by the modules' own names."""
    own = model.blocks[block]
    if model.family.blocks == "transformer.h":  # gpt2's one module makes queries, too
        return own.attn.c_attn(own.ln_1(states))
    normed = own.input_layernorm(states)
    return torch.cat([own.self_attn.k_proj(normed), own.self_attn.v_proj(normed)], dim=-1)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_maps_from_recorded_states_are_what_scikit_learn_fits_with_intercept(name):
    model = tiny.architecture(name)
    states = random_states(model.layers)
    maps = fit_exit(model, 1, [states[:, :40], states[:, 40:]], ("map", "kv_map"))
    agrees(maps["exit.1"], states[1], states[-1])
    agrees(maps["map.1.2"], states[1], states[2])
    for block in (1, 2):
        agrees(maps[f"kv_map.1.{block}"], states[1], keys_and_values(model, block, states[block]))
    assert len(maps) == 4
    alone = fit_exit(model, 1, [states])
    assert sorted(alone) == ["exit.1", "kv_map.1.1", "kv_map.1.2"]
    torch.testing.assert_close(alone["kv_map.1.2"].weight, maps["kv_map.1.2"].weight, atol=1e-5, rtol=1e-5)


class Recorded:
    """Recorded states in memory: a card, a fingerprint, shards."""

    def __init__(self, shards, positions="sampled"):
        self.shards = shards
        self.card = {"positions": positions, "corpus": {"name": "invented"}, "tokens_sha256": "1" * 64}
        self.fingerprint = "0" * 64

    def __len__(self):
        return sum(shard.shape[1] for shard in self.shards)

    def __iter__(self):
        return (SimpleNamespace(hidden_states=shard) for shard in self.shards)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(1, 7), st.booleans(), st.data())
@settings(max_examples=40, deadline=None)
def test_first_tokens_are_left_out_wherever_shards_end(lengths, size, every, data):
    positions = torch.tensor([data.draw(st.integers(0, length - 1)) for length in lengths])
    tokens = Tokens([torch.arange(length) for length in lengths], positions)
    places = torch.cat([torch.arange(length) for length in lengths]) if every else positions
    values = places.float()[None, :, None]  # every state says where it stood
    recorded = Recorded(list(values.split(size, dim=1)), "all" if every else "sampled")
    kept = torch.cat(list(ordinary(recorded, tokens)), dim=1)
    assert kept.flatten().tolist() == [place for place in places.tolist() if place > 0]
    if kept.numel():
        assert check_ordinary(tokens, recorded.card["positions"], 0) == kept.numel()


def sentences(rows=ROWS):
    ids = torch.randint(0, 40, (rows, 6), generator=torch.Generator().manual_seed(1))
    return Tokens(list(ids), torch.full((rows,), 3))


def test_a_killed_fit_goes_on_and_gives_the_same_bytes_that_decoding_reads(tmp_path, monkeypatch):
    model = tiny.architecture("llama")
    recorded = Recorded(list(random_states(model.layers).split(37, dim=1)))

    def fitted(root, out):
        with Partial("exits", "toy", {}, root=tmp_path / root, code=__file__) as partial:
            fit_exits(model, recorded, sentences(), partial, exits=[2, 1], short_list=5).save(tmp_path / out)
        return {path.name: path.read_bytes() for path in (tmp_path / out).iterdir()}, partial.resumed

    whole, _ = fitted("one", "a")
    with monkeypatch.context() as patch:
        patch.setattr("linear_shortcuts.decoding.exit_fits.fit_exit", lambda model, layer, *rest: (
            fit_exit(model, layer, *rest) if layer == 1 else (_ for _ in ()).throw(KeyboardInterrupt)
        ))  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            fitted("two", "b")
    assert fitted("two", "b") == (whole, 1)
    shortcuts = Shortcuts.load(tmp_path / "b", model)
    assert (shortcuts.exits, shortcuts.drafts, len(shortcuts.short_list)) == ([1, 2], 0, 5)
    counts = torch.bincount(torch.cat(sentences().sentences))
    assert int(counts[shortcuts.short_list].sum()) == int(counts.sort(descending=True).values[:5].sum())
    [made] = generate(model, [[5, 6]], new_tokens=6, method="early-exit", shortcuts=shortcuts, confidence=-1.0)
    assert set(made.layers[1:]) == {1}
    with pytest.raises(InputError, match="the shortcuts have no drafts; fit them with calibrate"):
        generate(model, [[5]], new_tokens=4, method="self-speculative", shortcuts=shortcuts)


def test_only_tokens_that_are_fitted_count_and_too_few_are_refused_before_any_is_read(tmp_path):
    model, tokens = tiny.architecture("llama"), sentences()
    first = ROWS - tiny.WIDTH
    tokens.positions[: first - 1] = 0

    def fitted(states):
        with Partial("exits", "toy", {}, root=tmp_path, code=__file__) as partial:
            return fit_exits(model, states, tokens, partial, exits=[1])

    assert fitted(Recorded([random_states(model.layers)])).card["fit"]["vectors"] == tiny.WIDTH + 1
    tokens.positions[first - 1] = 0
    with pytest.raises(InputError, match=f"{tiny.WIDTH} recorded tokens that come first in no sentence cannot"):
        fitted(Recorded([]))


@pytest.mark.parametrize(
    ("name", "layer", "rows", "message"),
    [
        ("llama", 3, ROWS, "exits name layer 3; llama can be left at the layers 1..2"),
        ("llama", 0, ROWS, "exits name layer 0"),
        ("llama", 1, tiny.WIDTH, f"{tiny.WIDTH} tokens cannot determine maps from layer 1; give {tiny.WIDTH + 1} or"),
        ("bert", 1, ROWS, "is a masked model, which generates nothing"),
    ],
)
def test_what_cannot_be_fitted_ends_in_one_line(name, layer, rows, message):
    model = tiny.architecture(name)
    with pytest.raises(InputError, match=message):
        fit_exit(model, layer, [random_states(model.layers, rows=rows)])


@given(st.integers(1, 200))
def test_exits_that_nobody_chose_are_three_inside_the_network(layers):
    exits = spread_exits(layers)
    assert exits == sorted(set(exits))
    assert all(0 < layer < layers for layer in exits)
    assert len(exits) == min(3, layers - 1)
