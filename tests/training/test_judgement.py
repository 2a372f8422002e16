"""What a trained model is worth: its loss against what any model without context could do, told in its card."""

import math

import numpy as np
import pytest
import torch

from linear_shortcuts.files import InputError
from linear_shortcuts.models import load_model
from linear_shortcuts.training import judgement
from linear_shortcuts.training.loop import new_model
from linear_shortcuts.training.tokenizers import pack
from linear_shortcuts.training.training_text import TrainingText


def test_a_model_that_predicts_nothing_loses_the_logarithm_of_its_vocabulary(small):
    model = new_model(small.settings, small.tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    rows = pack(small.files, small.tokenizer, 24)
    held_out = judgement.evaluate(model, small.settings, rows, small.tokenizer)
    assert held_out.loss == pytest.approx(math.log(len(small.tokenizer)), rel=1e-5)
    assert 0 < held_out.unigram_entropy < held_out.loss
    if small.settings.masked is None:
        assert held_out.tokens == rows.size - len(rows)


def test_no_held_out_row_is_refused_with_the_mend(small):
    with pytest.raises(InputError, match="does not fill one row; install more packages"):
        judgement.evaluate(None, small.settings, np.empty((0, 24), np.int32), small.tokenizer)


def test_a_model_is_saved_with_a_card_that_names_its_loss_and_what_made_it(small, tmp_path):
    text = TrainingText(small.files, [["Unseen."]], {"a-package": "1.2"})
    held_out = judgement.HeldOut(loss=3.0, unigram_entropy=5.0, tokens=77)
    card = judgement.model_card("my-model", small.settings, text, 1000, held_out, "python train.py --model my-model")
    for words in ("**3.000 nats**", "gain over the unigram | 2.000 nats", "`python train.py --model my-model`",
                  "a-package 1.2", "60 distinct prose sentences"):  # fmt: skip
        assert words in card
    judgement.save_model(tmp_path / "m", new_model(small.settings, small.tokenizer), small.tokenizer, card)
    assert (tmp_path / "m" / "README.md").read_text(encoding="utf-8") == card
    assert load_model(tmp_path / "m", device="cpu").layers == small.settings.layers
