"""Schedules: the best one is the best of all, and running one is running its blocks, whatever is computed once."""

import itertools
import math

import pytest
import tiny
import torch
from hypothesis import given, settings, strategies as st
from invented import BOOTSTRAP

from linear_shortcuts.maps.fitting import fit_maps, submodule_moments
from linear_shortcuts.maps.linear_maps import SubmoduleMaps
from linear_shortcuts.models.loading import wrap
from linear_shortcuts.scores import schedules, tables
from linear_shortcuts.scores.exits import Judge, layer_guesses, part_guesses, read_out
from linear_shortcuts.scores.schedules import Way, best_schedule, jumps, run_ways
from linear_shortcuts.settings.params import Schedules
from linear_shortcuts.states.extraction import extract

KINDS = ("gpt2", "bert", "llama (SmolLM: tied)")
HOW = Schedules(sentences=30, numbers=3, chances=2, greedy_sentences=10)


@settings(max_examples=40, deadline=None)
@given(layers=st.integers(1, 8), seed=st.integers(0, 10**6), low=st.sampled_from([-1.0, 0.0, 0.5]))
def test_the_best_schedule_is_that_of_brute_force(layers, seed, low):
    generator = torch.Generator().manual_seed(seed)
    pairs = itertools.combinations(range(layers + 1), 2)
    r2 = {pair: low + (1 - low) * float(torch.rand((), generator=generator)) for pair in pairs}

    def worth(schedule):
        return math.prod(max(0.0, r2[pair]) for pair in jumps(schedule, layers))

    for run in range(layers + 1):
        every = itertools.combinations(range(layers), run)
        found = best_schedule(r2, layers, run)
        assert len(found) == run
        assert worth(found) == pytest.approx(max(map(worth, every)), rel=1e-12)


@given(layers=st.integers(1, 12), data=st.data())
def test_blocks_and_jumps_cover_every_layer_once_and_no_jump_follows_another(layers, data):
    schedule = tuple(sorted(data.draw(st.sets(st.integers(0, layers - 1)))))
    made = jumps(schedule, layers)
    covered = [*schedule, *(block for i, j in made for block in range(i, j))]
    assert sorted(covered) == list(range(layers))
    assert all(before[1] < after[0] for before, after in itertools.pairwise(made))


def test_round_robin_runs_some_and_skips_some():
    assert schedules.round_robin(6, 2, 1) == (0, 1, 3, 4)
    assert schedules.round_robin(6, 1, 2) == (0, 3)
    assert schedules.round_robin(6, 3, 0) == (0, 1, 2, 3, 4, 5)
    assert sorted(map(len, schedules.round_robins(6))) == [1, 2, 3, 4, 5]
    assert (0, 2, 4) in schedules.round_robins(6)
    with pytest.raises(ValueError, match="does not divide 6"):
        schedules.round_robin(6, 3, 1)


def test_greedy_leaves_out_what_costs_least_each_time():
    cost = [3.0, 1.0, 2.0]
    found = schedules.greedy_schedules(3, lambda own: [sum(cost) - sum(cost[block] for block in s) for s in own])
    assert found == [(0, 1, 2), (0, 2), (0,), ()]


@pytest.fixture(scope="module", params=KINDS)
def studied(request):
    model = tiny.architecture(request.param)
    shard = extract(model, tiny.tokens(model, 200, seed=1), 0, 200, 500)
    maps = fit_maps(shard.hidden_states)
    parts = submodule_moments(model, range(model.layers), [shard])
    matrices = {
        (block, source, step + 1): parts[block][step].solve().matrices[0].float()
        for block in parts
        for step, source in enumerate(model.family.sources)
    }
    return model, maps, SubmoduleMaps.of(matrices), tiny.tokens(model, 30, seed=2)


def run(studied, *ways, tokens_per_batch=200):
    model, maps, submodule_maps, tokens = studied
    return run_ways(model, tokens, ways, maps, submodule_maps, tokens_per_batch)


def test_all_blocks_are_the_full_model_and_the_loss_is_the_librarys(studied):
    model, _, _, tokens = studied
    [whole] = run(studied, Way("full", tuple(range(model.layers))))
    assert whole["kl"].max() < 1e-5
    for row, (ids, place) in enumerate(zip(tokens.sentences, tokens.positions.tolist(), strict=True)):
        logits = model.network(ids[None]).logits[0, place]
        assert whole["top_ids"][row, 0] == logits.argmax()
        if model.family.causal and place + 1 < len(ids):
            expected = torch.nn.functional.cross_entropy(logits[None], ids[place + 1 : place + 2])
            assert whole["loss"][row] == pytest.approx(float(expected), rel=1e-4)
        else:
            assert whole["loss"][row].isnan()


def test_blocks_and_then_one_jump_are_the_exit_by_mat_and_dropped_the_exit_by_id(studied):
    model, maps, _, tokens = studied
    states = extract(model, tokens, 0, len(tokens), 200).hidden_states
    guesses = layer_guesses(states, maps)
    full = Judge.of(model.decode(states[-1]))
    ways = [Way("final", schedules.final_jump(m), mapped) for m in range(model.layers) for mapped in (True, False)]
    for way, record in zip(ways, run(studied, *ways), strict=True):
        guess = guesses["mat" if way.mapped else "id"][record["blocks"]]
        torch.testing.assert_close(record["kl"], read_out(model.decode(guess), full).kl, atol=1e-4, rtol=1e-3)


def test_a_jump_inside_is_what_hooks_make_of_the_network_itself(studied):
    model, maps, _, tokens = studied
    [record] = run(studied, Way("best", (0, 2), True))
    full = run(studied, Way("full", (0, 1, 2)))[0]

    def jump(module, args, output):
        given = args[0]
        mapped = maps.jump(given, 1, 2)
        return (mapped, *output[1:]) if isinstance(output, tuple) else mapped

    handle = model.blocks[1].register_forward_hook(jump)
    try:
        found = [
            int(model.network(ids[None]).logits[0, place].argmax())
            for ids, place in zip(tokens.sentences, tokens.positions.tolist(), strict=True)
        ]
    finally:
        handle.remove()
    assert record["top_ids"][:, 0].tolist() == found
    assert found != full["top_ids"][:, 0].tolist()


def test_what_is_computed_once_and_how_sentences_are_batched_change_nothing(studied):
    model = studied[0]
    ways = schedules.ways_to_score(model, dict.fromkeys(studied[1], 0.5), HOW, 0, [(0, 1, 2), (1, 2), (1,), ()])
    together, alone = run(studied, *ways), [run(studied, way, tokens_per_batch=40)[0] for way in ways[1::6]]
    for one, other in zip(together[1::6], alone, strict=True):
        assert one["schedule"] == other["schedule"]
        torch.testing.assert_close(one["kl"], other["kl"], atol=1e-4, rtol=1e-3)
    kinds = {way.kind for way in ways}
    assert kinds == {"full", "best", "final", "chance", "greedy", "round_robin", "attention"}


def test_attention_dropped_passes_the_stream_by_and_mapped_is_the_stand_in(studied):
    model, _, submodule_maps, tokens = studied
    blocks = tuple(range(model.layers))
    mapped, dropped = run(studied, *(Way("attention", blocks, how, blocks) for how in (True, False)))
    guess = part_guesses(model, tokens, submodule_maps, 200, [0])["mat_attn"][0]
    assert mapped["top_ids"][:, 0].tolist() == model.decode(guess).argmax(-1).tolist()
    for block in model.blocks:  # dropped: the attention's last module gives nothing
        step = next(step for step in model.family.steps if step.part == "attention")
        last = block.get_submodule(step.modules[-1])
        last.handle = last.register_forward_hook(
            lambda module, args, out: (torch.zeros_like(out[0]), *out[1:]) if isinstance(out, tuple) else out * 0
        )
    found = [
        int(model.network(ids[None]).logits[0, place].argmax())
        for ids, place in zip(tokens.sentences, tokens.positions.tolist(), strict=True)
    ]
    for block in model.blocks:
        block.get_submodule(step.modules[-1]).handle.remove()
    assert dropped["top_ids"][:, 0].tolist() == found


def test_the_search_finds_schedules_that_no_single_swap_at_the_first_step_betters(studied):
    model, maps, submodule_maps, tokens = studied
    found = schedules.search(model, tokens, maps, submodule_maps, 200)
    assert [len(schedule) for schedule in found] == list(range(model.layers, -1, -1))
    options = [tuple(b for b in range(model.layers) if b != out) for out in range(model.layers)]
    means = [float(record["kl"].mean()) for record in run(studied, *(Way("x", option) for option in options))]
    assert found[1] == options[means.index(min(means))]


def test_the_table_has_plain_averages_with_intervals_and_perplexity_where_tokens_are_known(studied):
    model = studied[0]
    ways = schedules.ways_to_score(model, dict.fromkeys(studied[1], 0.5), HOW, 0)
    records = run(studied, *ways)
    table = tables.schedules_table(records, BOOTSTRAP, 0)
    at = {(r["panel"], r["series"], r["blocks"]): r for r in table}
    for record in records:
        if record["kind"] == "best" and record["mapped"]:
            assert at[tables.KL, "best mapped", record["blocks"]]["value"] == pytest.approx(float(record["kl"].mean()))
    loss = records[0]["loss"]
    known = loss[~loss.isnan()]
    assert ((tables.LOSS, "full", model.layers) in at) == model.family.causal == bool(len(known))
    if model.family.causal:
        found = at[tables.LOSS, "full", model.layers]
        assert found["value"] == pytest.approx(float(known.mean().exp()), rel=1e-5)
        assert found["low"] < found["value"] < found["high"]
    assert at["Precision@1", "full", model.layers]["value"] == 1
    assert tables.by_blocks(table, tables.KL).startswith("| blocks | ")


def test_what_cannot_be_scheduled_is_known_beforehand(studied):
    model, maps, _, _ = studied
    assert schedules.possible(model, maps)
    assert not schedules.possible(model, type(maps).of({(0, model.layers): maps[0, model.layers]}))
    if not model.family.causal:
        assert not schedules.possible(wrap(model.network.base_model), maps)
