"""Perplexity is the library's own loss, KL and agreement are torch's, and intervals resample articles."""

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from linear_shortcuts.shorten.judgement import Judgement, judge, resampled_articles, tokens_per_second
from linear_shortcuts.shorten.surgery import Cut, without


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_perplexity_is_the_librarys_own_loss_and_kl_is_torchs(name, rows_of):
    model = tiny.architecture(name)
    rows, shorter = rows_of(model)["report"], without(model, Cut(1, 2))
    judged = judge(model, {"whole": model, "shorter": shorter}, rows)
    losses, kls, agree = [], [], []
    with torch.inference_mode():
        for row in rows:
            labels = row.ids if model.mask_token is None else row.labels
            losses.append(shorter.network(input_ids=row.ids[None], labels=labels[None]).loss)
            scored = row.labels != -100
            p, q = (own.network(input_ids=row.ids[None]).logits[0, scored] for own in (model, shorter))
            kls.append(F.kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="none").sum(-1))
            agree.append(p.argmax(-1) == q.argmax(-1))
    own = judged["shorter"]
    assert own.perplexity == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-5)  # rows of one length
    assert own.mean_kl == pytest.approx(float(torch.cat(kls).mean()), rel=1e-4)
    assert own.agreement == pytest.approx(float(torch.cat(agree).float().mean()))
    assert own.mean_kl > 0.01
    assert judged["whole"].mean_kl == 0
    assert judged["whole"].agreement == 1


def test_intervals_resample_articles_and_not_rows():
    """Rows of an article that are all alike: as many of them as you like tell no more than one."""
    torch.manual_seed(0)
    loss = torch.rand(10, dtype=torch.float64)
    one = Judgement(loss, loss, loss, torch.ones(10, dtype=torch.float64), torch.arange(10))
    many = Judgement(*(value.repeat_interleave(50) for value in vars(one).values()))
    assert many.record(0) == pytest.approx(one.record(0))
    record = one.record(0)
    assert record["kl_low"] < record["kl"] < record["kl_high"]
    spread = float(loss.std(correction=0)) / np.sqrt(10)  # of the mean of ten
    assert record["kl_high"] - record["kl_low"] == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_each_resample_draws_as_many_articles_as_there_are():
    counts = resampled_articles(torch.tensor([3, 3, 7, 9]), seed=0, resamples=20)
    assert torch.equal(counts[:, 0], counts[:, 1])
    assert (counts[:, 1:].sum(1) == 3).all()


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_speed_is_measured_of_every_model(name):
    speeds = tokens_per_second({"a": tiny.architecture(name)}, torch.arange(7, 15), tokens=2, times=1)
    assert speeds["a"] > 0
