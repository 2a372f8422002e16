"""Generation in one call: ends, batches, refusals, and the three ways against each other."""

from pydoc_data.topics import topics

import decoders
import pytest
import tiny
import torch

from linear_shortcuts.decoding import calibrate, generate, rows_of
from linear_shortcuts.files import InputError
from linear_shortcuts.models import load_model, load_tokenizer

ROWS = torch.randint(5, 90, (24, 20), generator=torch.Generator().manual_seed(3))
PROMPTS = [decoders.PROMPT, [7], [8, 9, 10]]


@pytest.fixture(scope="module")
def fitted():
    model = tiny.architecture("llama")
    return model, calibrate(model, ROWS, exits=[1, 2], draft_levels=2)


def test_many_prompts_equal_one_by_one_whatever_the_method(fitted):
    model, shortcuts = fitted
    for method in ("full", "self-speculative", "early-exit"):
        options = {"new_tokens": 12, "method": method, "shortcuts": shortcuts, "confidence": 0.1}
        together = generate(model, PROMPTS, **options)
        assert [made.ids for made in together] == [generate(model, [prompt], **options)[0].ids for prompt in PROMPTS]
        assert all(len(made.ids) == len(made.layers) == 12 and made.rate > 0 for made in together)


def test_self_speculation_gives_what_full_decoding_gives_drawn_or_best(fitted):
    model, shortcuts = fitted
    for temperature in (0.0, 0.8):
        options = {"new_tokens": 15, "temperature": temperature, "seed": 4}
        wanted = generate(model, PROMPTS[:1], **options)[0]
        for lookup in (False, True):
            asked = {"method": "self-speculative", "shortcuts": shortcuts, "lookup": lookup}
            [found] = generate(model, PROMPTS[:1], **asked, **options)
            assert found.ids == wanted.ids
            assert found.steps + found.held == wanted.steps == 15
            assert found.drafted > 0


def tied(model, prompt, found, wanted):
    """Whether two texts part where the two tokens' logits are nearer than those of a chunk and of single steps."""
    place = next(n for n, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other)
    ids = torch.tensor([[*prompt, *wanted[:place]]])
    with torch.inference_mode():
        chunk = model.network(input_ids=ids, use_cache=True).logits[0, -1]
        past = model.network(input_ids=ids[:, :-1], use_cache=True).past_key_values
        single = model.network(input_ids=ids[:, -1:], past_key_values=past).logits[0, -1]
    gap = (single[wanted[place]] - single[found[place]]).abs()
    return bool(gap <= 2 * (chunk - single).abs().max())


def test_with_shipped_weights_the_tokens_are_those_of_full_decoding(repository):
    """Where two part all the same, the two were as good as equal; on the machine this was written on none do."""
    model = load_model(repository / "models" / "tiny-gpt2", device="cpu")
    rows = rows_of(load_tokenizer(repository / "models" / "tiny-gpt2"), list(topics.values())[:8], 48)
    shortcuts = calibrate(model, rows[:24], draft_levels=2)
    prompts = rows[-6:, :16].tolist()
    wanted = generate(model, prompts, new_tokens=84)
    found = generate(model, prompts, new_tokens=84, method="self-speculative", shortcuts=shortcuts)
    assert sum(len(made.ids) for made in found) == 6 * 84
    for prompt, one, other in zip(prompts, found, wanted, strict=True):
        assert one.ids == other.ids or tied(model, prompt, one.ids, other.ids)
    assert sum(made.held for made in found) > 25  # some guesses do hold


def test_a_text_ends_at_its_stop_token_even_if_that_comes_at_once(fitted):
    model, shortcuts = fitted
    whole = generate(model, PROMPTS, new_tokens=12)
    stop = whole[0].ids[0]
    for method in ("full", "self-speculative", "early-exit"):
        options = {"new_tokens": 12, "method": method, "shortcuts": shortcuts, "stops": [stop], "confidence": 1.2}
        told = []
        ended = generate(
            model, PROMPTS, tell=lambda number, ids, step, into=told: into.append((number, ids)), **options
        )
        assert ended[0].ids == [stop]
        for made, one in zip(ended, whole, strict=True):
            end = one.ids.index(stop) + 1 if stop in one.ids else 12
            assert made.ids == one.ids[:end]
        for number, made in enumerate(ended):
            assert [token for n, ids in told if n == number for token in ids] == made.ids


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": [[5], []]}, "prompt 1 has no token; begin it with one"),
        ({"prompts": [[5, 97]]}, r"prompt 0 has ids outside 0..96"),
        ({"prompts": [[5] * 30]}, "prompt 0 has 30 tokens and 4 are to follow, but llama reads 32 at most"),
        ({"new_tokens": 0}, "new_tokens is 0"),
        ({"method": "fast"}, "method is 'fast'; it must be one of full, early-exit, self-speculative"),
        ({"method": "early-exit", "shortcuts": None}, "method early-exit needs shortcuts"),
        ({"method": "early-exit", "temperature": 1.0}, "takes the best token only"),
        ({"method": "early-exit", "fill": "guess"}, "fill is 'guess'; it must be one of copy, map, kv_map, recompute"),
        ({"method": "self-speculative", "costs": [1.0, 0.0]}, "costs are"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"method": "early-exit", "confidence": float("nan")}, "confidence is nan; give 0, to leave soon, to 1.2"),
        ({"method": "full", "confidence": float("inf")}, "confidence is inf; give 0, to leave soon, to 1.2"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line(fitted, settings, message):
    model, shortcuts = fitted
    options = {"prompts": [[5]], "new_tokens": 4, "shortcuts": shortcuts, **settings}
    with pytest.raises(InputError, match=message):
        generate(model, **options)


def test_shortcuts_of_another_model_or_without_what_is_asked_for_are_refused(fitted):
    model, shortcuts = fitted
    with pytest.raises(InputError, match="this set of shortcuts was made with in memory"):
        generate(tiny.architecture("llama", seed=1), [[5]], new_tokens=4, method="early-exit", shortcuts=shortcuts)
    bare = calibrate(model, ROWS, exits=[1], draft_levels=1, fills=())
    with pytest.raises(InputError, match="nothing for fill kv_map from layer 1 to block 2"):
        generate(model, [[5]], new_tokens=4, method="early-exit", shortcuts=bare)
    without = calibrate(model, ROWS, draft_levels=1)
    with pytest.raises(InputError, match="the shortcuts have no exits"):
        generate(model, [[5]], new_tokens=4, method="early-exit", shortcuts=without)
