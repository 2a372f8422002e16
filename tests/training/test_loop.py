"""Training: what is predicted, every row once an epoch, and the same weights after a kill."""

import numpy as np
import pytest
import torch

from linear_shortcuts.files.partial import Partial
from linear_shortcuts.training import newest_checkpoint, sinusoids
from linear_shortcuts.training.loop import IGNORED, batch, language_loss, new_model, prepare, train
from linear_shortcuts.training.tokenizers import pack


def test_labels_are_the_next_token_or_what_is_behind_the_mask(small):
    rows = pack(small.files, small.tokenizer, 24)
    inputs, labels = prepare(rows, small.settings.masked, 0, small.tokenizer)
    whole = torch.from_numpy(rows.astype(np.int64))
    if small.settings.masked is None:
        assert torch.equal(inputs, whole)
        assert torch.equal(labels[:, :-1], whole[:, 1:])
        assert set(labels[:, -1].tolist()) == {IGNORED}
        return
    hidden = labels != IGNORED
    assert torch.equal(torch.where(hidden, labels, inputs), whole)
    assert set(inputs[hidden].tolist()) == {small.tokenizer.mask_token_id}
    assert not torch.isin(labels[hidden], torch.tensor(small.tokenizer.all_special_ids)).any()
    assert 0 < hidden.float().mean() < 2 * small.settings.masked


def test_an_epoch_reads_every_row_once(small):
    rows = np.arange(6 * 24, dtype=np.int32).reshape(6, 24) + 10
    causal = [batch(small.settings, {24: rows}, step, small.tokenizer) for step in range(3)]
    whole = torch.cat([torch.where(labels != IGNORED, labels, inputs) for inputs, labels in causal])
    if small.settings.masked is None:
        whole = torch.cat([inputs for inputs, _ in causal])
    assert sorted(whole[:, 5].tolist()) == sorted(rows[:, 5].tolist())


def test_the_loss_is_the_cross_entropy_of_the_models_own_logits(small):
    model = new_model(small.settings, small.tokenizer).eval()
    inputs, labels = prepare(pack(small.files, small.tokenizer, 24)[:3], small.settings.masked, 0, small.tokenizer)
    with torch.inference_mode():
        logits = model(input_ids=inputs).logits
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        assert language_loss(model, inputs, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_training_that_was_killed_goes_on_to_the_same_weights(small, tmp_path):
    rows = {24: pack(small.files, small.tokenizer, 24)}
    recipe = {"kind": small.settings.kind}

    def stop(step, loss):
        if step == 3:
            raise KeyboardInterrupt

    with Partial("train", "whole", recipe, root=tmp_path, code=__file__) as partial:
        whole = train(small.settings, rows, small.tokenizer, partial, lambda step, loss: None)
    with pytest.raises(KeyboardInterrupt), Partial("train", "cut", recipe, root=tmp_path, code=__file__) as partial:
        train(small.settings, rows, small.tokenizer, partial, stop)
    with Partial("train", "cut", recipe, root=tmp_path, code=__file__) as partial:
        assert newest_checkpoint(partial)[0] == 2
        resumed = train(small.settings, rows, small.tokenizer, partial, lambda step, loss: None)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_sinusoids_tell_positions_apart_and_neighbours_are_alike():
    table = sinusoids(32, 16)
    assert table.shape == (32, 16)
    likeness = torch.nn.functional.normalize(table, dim=1) @ torch.nn.functional.normalize(table, dim=1).T
    assert (likeness - torch.eye(32)).max() < 1 - 1e-4
    assert (likeness.diagonal(1) > likeness.diagonal(8).mean()).all()
