"""Exits: exact where theory promises it, and equal to running the blocks the slow way."""

from contextlib import ExitStack
from unittest import mock

import pytest
import tiny
import torch
from fitted import publish
from hypothesis import given, settings, strategies as st

from linear_shortcuts import LayerMaps, SubmoduleMaps
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.families import PARTS
from linear_shortcuts.models.precision import arithmetic
from linear_shortcuts.scores.exits import (
    NO_TOKEN,
    Judge,
    _run_blocks,
    join_chunks,
    layer_guesses,
    part_guesses,
    read_out,
    score_chunk,
    score_exits,
    spread,
    top,
)
from linear_shortcuts.scores.measures import in_top, r2_pairs
from linear_shortcuts.settings.params import Exits
from linear_shortcuts.states.extraction import SequenceRecorder, batches, extract


def study(model, folder, train=200, validation=60):
    """Maps of a tiny model, with its validation tokens and states."""
    shard = extract(model, tiny.tokens(model, train, seed=1), 0, train, 500)
    publish(model, shard, folder, train)
    tokens = tiny.tokens(model, validation, seed=2)
    states = extract(model, tokens, 0, validation, 500).hidden_states
    return tokens, states, LayerMaps.load(folder / "layers"), SubmoduleMaps.load(folder / "submodules")


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def exited(request, tmp_path_factory):
    model = tiny.model(request.param)
    tokens, states, layer_maps, submodule_maps = study(model, tmp_path_factory.mktemp("study"))
    guesses = layer_guesses(states, layer_maps) | part_guesses(model, tokens, submodule_maps, 300)
    return model, tokens, states, guesses, score_exits(model, states, guesses), submodule_maps


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_model_of_linear_blocks_is_left_anywhere_without_loss(family, tmp_path):
    model = tiny.linear_model(family)
    tokens, states, layer_maps, submodule_maps = study(model, tmp_path)
    assert min(r2_pairs([states], {"mat": layer_maps.jump}, layer_maps)["mat"].values()) == pytest.approx(1, abs=1e-6)
    guesses = layer_guesses(states, layer_maps) | part_guesses(model, tokens, submodule_maps, 300)
    scores = score_exits(model, states, guesses)
    whole = scores["mat", model.layers]
    for mapping in ("mat", *PARTS):
        for layer in range(model.layers):
            assert in_top(whole.top_ids, scores[mapping, layer].top_ids[:, 0], 1).mean() == 1
            assert scores[mapping, layer].kl.max() < 1e-4
    assert in_top(whole.top_ids, scores["id", 0].top_ids[:, 0], 1).mean() < 0.9  # positive control


def test_the_last_exit_is_the_full_model(exited):
    model, tokens, states, _, scores, _ = exited
    for mapping in ("id", "mat", *PARTS):
        last = scores[mapping, model.layers]
        for row, (ids, position) in enumerate(zip(tokens.sentences, tokens.positions, strict=True)):
            with torch.inference_mode():
                log_p = model.network(input_ids=ids[None]).logits[0, position].log_softmax(-1)
            assert last.top_ids[row].tolist() == log_p.topk(10).indices.tolist()
            assert last.surprisal[row] == pytest.approx(-float(log_p.max()), abs=1e-4)
        assert last.kl.max() < 1e-6


def test_scores_are_ordered_as_they_must_be(exited):
    model, _, _, _, scores, _ = exited
    whole = scores["id", model.layers]
    for readout in scores.values():
        hits = [in_top(whole.top_ids, readout.top_ids[:, 0], k) for k in (1, 5, 10)]
        assert (hits[0] <= hits[1]).all()
        assert (hits[1] <= hits[2]).all()
        assert (readout.surprisal >= whole.surprisal - 1e-5).all()
        assert (readout.kl >= 0).all()
        assert (readout.top_probabilities[:, 0] >= readout.top_probabilities[:, 1]).all()


def test_id_reads_the_state_itself_out(exited):
    model, tokens, states, _, scores, _ = exited
    with torch.inference_mode():
        logits = model.decode(states[1])
        full = Judge.of(model.decode(states[-1]))
    expected = read_out(logits, full)
    assert torch.equal(scores["id", 1].top_ids, expected.top_ids)
    torch.testing.assert_close(scores["id", 1].kl, expected.kl, atol=1e-5, rtol=1e-4)


def replaced(model, block, step, matrix):
    """Patch one sub-step of a block to be a matrix, the slow way: through the network's own forward."""
    modules = [model.blocks[block].get_submodule(path) for path in model.family.steps[step].modules]
    is_attention = model.family.steps[step].part == "attention"

    def first(states, *args, **kwargs):
        value = states @ matrix.T
        return (value, None) if is_attention else value

    stack = ExitStack()
    stack.enter_context(mock.patch.object(modules[0], "forward", first))
    for module in modules[1:]:
        stack.enter_context(mock.patch.object(module, "forward", lambda states: states))
    return stack


def test_parts_equal_the_networks_own_forward_with_the_part_replaced(exited):
    model, tokens, _, guesses, _, submodule_maps = exited
    for mapping, part in PARTS.items():
        for layer in range(model.layers):
            with ExitStack() as stack, torch.inference_mode():
                for block in range(layer, model.layers):
                    for step, matrix in submodule_maps.stand_ins(model, part)[block].items():
                        stack.enter_context(replaced(model, block, step, matrix))
                for row in range(0, len(tokens), 7):
                    ids, position = tokens.sentences[row], tokens.positions[row]
                    logits = model.network(input_ids=ids[None]).logits[0, position]
                    torch.testing.assert_close(model.decode(guesses[mapping][layer, row]), logits, atol=1e-3, rtol=1e-3)


def test_replacing_nothing_gives_the_full_model(exited):
    model, tokens, states, *_ = exited

    class Nothing:
        def stand_ins(self, model, part):
            return [{} for _ in range(model.layers)]

    with mock.patch.dict(
        "linear_shortcuts.scores.exits.PARTS", {"mat_attn": "feed_forward"}
    ):  # so that no mapping runs alone
        guesses = part_guesses(model, tokens, Nothing(), 300)
    for guess in guesses.values():
        for layer in range(model.layers):
            torch.testing.assert_close(guess[layer], states[-1], atol=1e-4, rtol=1e-4)


def test_batch_size_changes_no_top_ten_and_no_probability(exited):
    model, tokens, states, guesses, scores, submodule_maps = exited
    single = part_guesses(model, tokens, submodule_maps, 1)
    for mapping, guess in single.items():
        torch.testing.assert_close(guess, guesses[mapping], atol=1e-3, rtol=1e-3)
    for row in range(0, len(tokens), 11):
        one = {mapping: guess[:, row : row + 1] for mapping, guess in guesses.items()}
        for key, readout in score_exits(model, states[:, row : row + 1], one).items():
            assert torch.equal(readout.top_ids[0], scores[key].top_ids[row])
            torch.testing.assert_close(readout.top_probabilities[0], scores[key].top_probabilities[row])


def test_chunks_join_to_what_one_pass_gives(exited):
    model, _, states, guesses, scores, _ = exited
    halves = [slice(0, 25), slice(25, 60)]
    chunks = [
        {
            key: vars(readout)
            for key, readout in score_exits(model, states[:, h], {m: g[:, h] for m, g in guesses.items()}).items()
        }
        for h in halves
    ]
    records = join_chunks(chunks)
    assert len(records) == 5 * (model.layers + 1)
    for record in records:
        expected = scores[record["mapping"], record["layer"]]
        assert torch.equal(record["top_ids"], expected.top_ids)
        torch.testing.assert_close(record["surprisal"], expected.surprisal)


def test_few_samples_at_a_time_give_the_read_outs_of_all_at_once(exited):
    model, _, states, guesses, scores, _ = exited
    for key, readout in score_exits(model, states, guesses, at_once=7 * model.vocabulary).items():
        assert torch.equal(readout.top_ids, scores[key].top_ids)
        torch.testing.assert_close(readout.kl, scores[key].kl, atol=1e-5, rtol=1e-4)


def test_a_short_list_is_all_that_id_and_mat_choose_among_before_the_last_layer(exited):
    model, _, states, guesses, scores, _ = exited
    listed = torch.arange(3, model.vocabulary, 4)
    found = score_exits(model, states, guesses, listed=listed)
    full = torch.log_softmax(model.decode(states[-1]).double(), dim=-1)
    among = torch.log_softmax(full[:, listed], dim=-1)
    for (mapping, layer), readout in found.items():
        if mapping in PARTS or layer == model.layers:
            assert all(torch.equal(value, vars(scores[mapping, layer])[name]) for name, value in vars(readout).items())
            continue
        own = torch.log_softmax(model.decode(guesses[mapping][layer]).double()[:, listed], dim=-1)
        assert torch.equal(readout.top_ids[:, 0], listed[own.argmax(-1)])
        torch.testing.assert_close(readout.kl.double(), (among.exp() * (among - own)).sum(-1), atol=1e-4, rtol=1e-3)
        surprisal = -full.gather(1, readout.top_ids[:, :1])[:, 0]
        torch.testing.assert_close(readout.surprisal.double(), surprisal, atol=1e-4, rtol=1e-4)
    for key, readout in score_exits(model, states, guesses, listed=torch.arange(model.vocabulary)).items():
        assert torch.equal(readout.top_ids, scores[key].top_ids)
        torch.testing.assert_close(readout.kl, scores[key].kl, atol=1e-5, rtol=1e-4)


def test_parts_of_some_sentences_from_some_layers_are_rows_of_the_full_run(exited):
    model, tokens, states, _, scores, submodule_maps = exited
    assert spread(30, 12) == range(0, 30, 3)
    assert spread(12, 12) == range(12)
    starts = spread(model.layers, 2)
    some = part_guesses(model, tokens.part(0, 25), submodule_maps, 300, starts)
    found = score_exits(model, states, some, dict.fromkeys(some, starts), at_once=10 * model.vocabulary)
    assert set(found) == {(mapping, layer) for mapping in PARTS for layer in (0, 2, 3)}
    for key, readout in found.items():
        assert torch.equal(readout.top_ids, scores[key].top_ids[:25])
        torch.testing.assert_close(readout.surprisal, scores[key].surprisal[:25], atol=1e-3, rtol=1e-3)


def test_a_chunk_takes_of_the_parts_what_the_settings_leave_it(exited):
    model, tokens, states, _, scores, submodule_maps = exited

    class Identity:
        def jump(self, states, source, target):
            return states

    how = Exits(sentences_per_chunk=25, part_sentences=30, part_layers=1)
    chunks = []
    for first, last in ((0, 25), (25, 50), (50, 60)):
        found = score_chunk(model, states, tokens, first, last, Identity(), submodule_maps, 300, "float32", how)
        chunks.append({key: vars(readout) for key, readout in found.items()})
    sizes = {(record["mapping"], record["layer"]): len(record["kl"]) for record in join_chunks(chunks)}
    assert {sizes["id", layer] for layer in range(model.layers + 1)} == {60}
    assert {key: size for key, size in sizes.items() if key[0] in PARTS} == {
        (mapping, layer): 30 for mapping in PARTS for layer in (0, model.layers)
    }


@pytest.mark.parametrize("size", [torch.nan, 1e30])  # no number at all, and one whose square is none
def test_a_mapping_that_diverges_is_wrong_has_no_kl_and_stops_nothing(exited, size):
    model, _, states, guesses, scores, _ = exited
    grown = guesses["mat_ffn"].clone()
    grown[0, ::2] = size
    found = score_exits(model, states, guesses | {"mat_ffn": grown})
    lost = found["mat_ffn", 0]
    assert (lost.top_ids[::2] == NO_TOKEN).all()
    assert lost.kl.isnan().equal(lost.surprisal.isnan())
    assert lost.kl.isnan().tolist() == [row % 2 == 0 for row in range(len(lost.kl))]
    assert torch.equal(lost.top_ids[1::2], scores["mat_ffn", 0].top_ids[1::2])
    for key in scores.keys() - {("mat_ffn", 0)}:
        assert torch.equal(found[key].kl, scores[key].kl)


def test_a_stream_that_blew_up_is_lost_whatever_a_later_block_makes_of_it_and_none_beside_it(exited):
    model, tokens, _, _, _, submodule_maps = exited
    batch, recorder = next(batches(tokens, model, 1024)), SequenceRecorder()
    stand_ins = submodule_maps.stand_ins(model, "feed_forward")
    genuine, ran = type(model).sites, []

    def blow_up(rows):
        def sites(self, block, *rest):
            ran.append(block)
            ends = genuine(self, block, *rest)
            ends[-1][rows] = 1e30 if block == 0 else 0.0
            return ends

        return mock.patch.object(type(model), "sites", sites)

    with torch.inference_mode():
        with model.watch(recorder):
            model.encode(batch.ids, batch.mask)
        calm = _run_blocks(model, 0, recorder, stand_ins, batch.at_positions)
        with blow_up(1):
            one = _run_blocks(model, 0, recorder, stand_ins, batch.at_positions)
        assert ran == list(range(model.layers))
        with blow_up(slice(None)):
            assert _run_blocks(model, 0, recorder, stand_ins, batch.at_positions).isnan().all()
        assert ran == [*range(model.layers), 0]  # none is left to run for
    assert one.isnan().all(1).tolist() == [row == 1 for row in range(len(calm))]
    assert torch.equal(one[2:], calm[2:])


def test_a_genuine_state_that_overflows_stops_the_run(exited):
    model, _, states, guesses, *_ = exited
    broken = states.clone()
    broken[-1, 3] = torch.nan
    with pytest.raises(InputError, match="prediction for sentence 103 has a value that is not finite"):
        score_exits(model, broken, guesses, first=100)


def test_surprisal_stays_finite_where_a_probability_underflows():
    full = torch.zeros(1, 12)
    full[0, 0] = 500.0
    exit_logits = torch.zeros(1, 12)
    exit_logits[0, 3] = 10.0
    readout = read_out(exit_logits, Judge.of(full))
    assert readout.surprisal[0] == pytest.approx(500, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 5), width=st.integers(10, 6000), k=st.integers(1, 10), seed=st.integers(0, 10**6))
def test_top_equals_topk_for_any_width(rows, width, k, seed):
    values = torch.randperm(rows * width, generator=torch.Generator().manual_seed(seed)).reshape(rows, width).float()
    found, places = top(values, k)
    expected = values.topk(k, dim=1)
    assert torch.equal(found, expected.values)
    assert torch.equal(places, expected.indices)


def test_in_bf16_the_model_computes_less_exactly_and_the_scores_as_exactly_as_ever(exited):
    model, _, states, guesses, scores, _ = exited
    with arithmetic("bf16", model.device):
        rough = score_exits(model, states, guesses)
    for key, readout in rough.items():
        for name, value in vars(readout).items():
            assert value.dtype == getattr(scores[key], name).dtype  # no bfloat16 in a file
    assert rough["id", model.layers].kl.max() == 0  # a judge of the same precision
    kl = torch.stack([torch.stack([found[key].kl for key in scores]) for found in (scores, rough)])
    assert 0 < (kl[0] - kl[1]).abs().max() < 0.2
