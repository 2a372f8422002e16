"""Alternation: running a schedule is running its blocks and taking its jumps, whatever is computed once."""

import dataclasses

import pytest
import tiny
import torch
from invented import BOOTSTRAP

from linear_shortcuts.files.partial import Partial
from linear_shortcuts.maps.fitting import fit_maps, submodule_moments
from linear_shortcuts.maps.linear_maps import LayerMaps, SubmoduleMaps
from linear_shortcuts.scores import alternation, schedules, tables
from linear_shortcuts.scores.alternation import Fitted, run_ways
from linear_shortcuts.scores.exits import Judge, layer_guesses, part_guesses, read_out
from linear_shortcuts.scores.schedules import Way
from linear_shortcuts.settings.params import Schedules
from linear_shortcuts.states.extraction import extract

KINDS = ("gpt2", "bert", "llama (SmolLM: tied)")
HOW = Schedules(sentences=30, numbers=3, chances=2, greedy_sentences=10, ordinary_sentences=20)


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


def run(studied, *ways, tokens_per_batch=200, ordinary=None):
    model, maps, submodule_maps, tokens = studied
    return run_ways(model, tokens, ways, Fitted(maps, submodule_maps, ordinary), tokens_per_batch)


def sampled(model, tokens):
    """The full model's best token at the sampled position of each sentence."""
    rows = zip(tokens.sentences, tokens.positions.tolist(), strict=True)
    return [int(model.network(ids[None]).logits[0, place].argmax()) for ids, place in rows]


def unseen(work, **options):
    """A progress bar that shows nothing."""
    return work


def is_special(model, tokens):
    """Whether the sampled position is the one unlike the others."""
    return torch.ones(len(tokens), dtype=torch.bool) if model.mask_token is not None else tokens.positions == 0


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


@pytest.mark.parametrize("apart", [False, True])
def test_a_jump_inside_is_what_hooks_make_of_the_network_itself(studied, apart):
    model, maps, submodule_maps, tokens = studied
    others = LayerMaps.of({pair: 0.5 * matrix for pair, matrix in maps.items()})
    [record] = run(studied, Way("best", (0, 2), True), ordinary=Fitted(others, submodule_maps) if apart else None)
    current = {}

    def jump(module, args, output):
        given = args[0]
        mapped = maps.jump(given, 1, 2)
        if apart:
            mapped = 0.5 * mapped
            mapped[:, current["special"]] *= 2
        return (mapped, *output[1:]) if isinstance(output, tuple) else mapped

    found = []
    handle = model.blocks[1].register_forward_hook(jump)
    try:
        for row in range(len(tokens)):
            current["special"] = 0 if model.mask_token is None else int(tokens.positions[row])
            found += sampled(model, tokens.part(row, row + 1))
    finally:
        handle.remove()
    assert record["top_ids"][:, 0].tolist() == found
    assert found != sampled(model, tokens)


def test_the_stand_in_of_attention_is_the_position_s_own(studied):
    """Of ordinary positions one of zeros: what reads one of these at the last block reads no attention."""
    model, maps, submodule_maps, tokens = studied
    zeros = SubmoduleMaps.of({key: torch.zeros_like(matrix) for key, matrix in submodule_maps.items()})
    blocks = tuple(range(model.layers))
    ways = [Way("attention", blocks, how, blocks[-1:]) for how in (True, False)]
    mapped, dropped = run(studied, *ways)
    apart = run(studied, ways[0], ordinary=Fitted(maps, zeros))[0]
    special = is_special(model, tokens)
    torch.testing.assert_close(apart["kl"], torch.where(special, mapped["kl"], dropped["kl"]))
    assert not torch.allclose(mapped["kl"], dropped["kl"])


def test_ordinary_positions_are_all_but_the_masked_or_the_first_one(studied):
    model, _, submodule_maps, _ = studied
    tokens = tiny.tokens(model, 40, seed=3)
    fitted = alternation.fit_ordinary(model, tokens, 100)
    rows = []
    for row in range(len(tokens)):
        states = extract(model, tokens.part(row, row + 1), 0, 1, 100, "all").hidden_states
        special = 0 if model.mask_token is None else int(tokens.positions[row])
        rows.append(torch.cat([states[:, :special], states[:, special + 1 :]], 1))
    states = torch.cat(rows, 1).double()
    for i, j in [(0, 2), (1, 3)]:
        wanted = torch.linalg.lstsq(states[i], states[j], driver="gelsd").solution
        torch.testing.assert_close(states[i] @ fitted.layers[i, j].T.double(), states[i] @ wanted, atol=1e-3, rtol=1e-3)
    assert set(fitted.submodules) == set(submodule_maps)


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
    found = alternation.search(model, tokens, Fitted(maps, submodule_maps), 200, unseen)
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


def test_a_killed_run_is_taken_up_and_gives_the_same(studied, tmp_path, monkeypatch):
    model, maps, submodule_maps, tokens = studied
    monkeypatch.setattr(alternation, "SENTENCES", 10)
    asked = (Fitted(maps, submodule_maps), dict.fromkeys(maps, 0.5), HOW, 0, 200)

    def killed(work, **options):
        for number, item in enumerate(work):
            if "score" in options["desc"] and number == 2:
                raise KeyboardInterrupt
            yield item

    def score(where, watch):
        with Partial("11", "x", {}, root=tmp_path / where, code=__file__) as partial:
            return alternation.score(model, tokens, tokens, *asked, partial, watch), partial.resumed

    whole, _ = score("whole", unseen)
    with pytest.raises(KeyboardInterrupt):
        score("killed", killed)
    again, resumed = score("killed", unseen)
    assert resumed == 3  # the search and two parts
    assert len(again) == len(whole)
    for one, other in zip(again, whole, strict=True):
        assert one["schedule"] == other["schedule"]
        assert len(one["kl"]) == 30
        torch.testing.assert_close(one["kl"], other["kl"], equal_nan=True)
    # maps of their own change what is predicted
    together = dataclasses.replace(HOW, ordinary_sentences=None)
    with Partial("11", "x", {}, root=tmp_path / "together", code=__file__) as partial:
        other = alternation.score(model, tokens, tokens, asked[0], asked[1], together, 0, 200, partial, unseen)
    assert any(not torch.allclose(a["kl"], b["kl"]) for a, b in zip(whole, other, strict=True))


def test_what_cannot_be_scheduled_has_no_records(studied, tmp_path):
    model, maps, submodule_maps, tokens = studied
    few = LayerMaps.of({(0, model.layers): maps[0, model.layers]})
    with Partial("11", "x", {}, root=tmp_path, code=__file__) as partial:
        fitted = Fitted(few, submodule_maps)
        assert alternation.score(model, tokens, tokens, fitted, {}, HOW, 0, 200, partial, unseen) == []
