"""What runs beside the whole model, from the first block that differs, gives what it gives when it runs alone."""

import pytest
import tiny
import torch

from linear_shortcuts.shorten.comparison import Rest, SideBySide, shared_blocks
from linear_shortcuts.shorten.surgery import Cut, add_product, down_projection, fold, with_blocks, without


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_beside_the_whole_model_a_shorter_one_gives_its_own_logits(name, rows_of):
    model = tiny.architecture(name)
    row = rows_of(model)["report"][0]
    scored = row.labels != -100
    others = {"last": without(model, Cut(2, 3)), "first": without(model, Cut(0, 1)), "whole": model}
    others["hooked"] = without(model, Cut(1, 2))
    add_product(others["hooked"], 0, torch.eye(model.width), None)
    found = dict(SideBySide(model, others)(row))
    assert set(found) == {"", *others}
    with torch.inference_mode():
        for key, log_q in found.items():
            alone = others.get(key, model).network(input_ids=row.ids[None]).logits[0][scored]
            torch.testing.assert_close(log_q, alone.log_softmax(-1), rtol=1e-5, atol=1e-5)
    assert (found["hooked"] - found[""]).abs().max() > 1e-3  # the positive control


def test_blocks_are_shared_up_to_the_first_that_was_cut_changed_or_hooked():
    model = tiny.architecture("llama")
    folded, hooked = without(model, Cut(2, 3)), without(model, Cut(2, 3))
    fold(folded, 1, torch.eye(model.width), None)
    add_product(hooked, 1, torch.eye(model.width), None)
    shared = [shared_blocks(model, other) for other in (without(model, Cut(2, 3)), folded, hooked, model)]
    assert shared == [2, 1, 1, 3]
    assert down_projection(model, 1).weight is down_projection(hooked, 1).weight


def test_only_the_rest_runs(rows_of):
    model, ran = tiny.architecture("gpt2"), []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda module, args, output, number=number: ran.append(number))
    rest = Rest(with_blocks(model, [0, 1, 2]), 2)
    rest.logits(rows_of(model)["report"][0].ids, torch.zeros(1, tiny.CONTEXT, model.width))
    assert ran == [2]
