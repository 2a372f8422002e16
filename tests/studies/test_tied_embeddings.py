"""Tied embeddings on masked parity: data and models against independent ones, and the pipeline against itself."""

import itertools
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings, strategies as st

from linear_shortcuts import InputError
from linear_shortcuts.files.documents import filled
from linear_shortcuts.settings import one_thread
from tied_embeddings import experiment, measures, results, settings as study, transformer, verdicts
from tied_embeddings.batched import INPUT, OUTPUT, Ensemble, Models, _score
from tied_embeddings.callbacks import distances
from tied_embeddings.dataset import IGNORED, Batch, Xor, bit_strings
from tied_embeddings.models import new_model
from tied_embeddings.settings import DistanceSettings, LogSettings, ModelSettings
from tied_embeddings.training import schedule

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = REPOSITORY / "studies" / "tied_embeddings"
SCRIPTS = sorted(STUDY.glob("0[1-3]*.py"))
SETTINGS = study.read(STUDY / "params.yaml")
STRINGS = bit_strings(7, 14)
EIGHT = [name for name in SETTINGS.experiments if not name.endswith("no-decay")]
SMALL = ("transformer-small", "lstm-small", "mlp-small")
OPTIMA = {"": (0.70, 0.5091), "-ndh": (0.95, 0.1625), "-ydh": (0.75, 0.3466)}
HYPOTHESIS = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**31)


def xor(name="transformer-small"):
    own = SETTINGS.experiments[name]
    return Xor(own.zero_dst, own.one_dst, STRINGS)


def short(name="transformer-small", variant="untied", epochs=50, **changes):
    return replace(SETTINGS.compose(name, variant), epochs=epochs, **changes)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True, scope="module")
def single_thread():
    with one_thread():
        yield


# --- data (checks 1, 2, 6, 7) ------------------------------------------------------------------------------


def test_strings_are_all_but_one_and_split_the_same_for_every_model():
    assert [len(STRINGS[split]) for split in ("train", "validation", "test")] == [114, 12, 1]
    everything = torch.cat(list(STRINGS.values()))
    numbers = sorted((everything @ (2 ** torch.arange(6, -1, -1))).tolist())
    assert numbers == list(range(127))
    assert sum(map(len, bit_strings(7, 14, include_all_ones=True).values())) == 128
    assert all(torch.equal(STRINGS[split], bit_strings(7, 14)[split]) for split in STRINGS)
    # The original's own: its strings with the most and the fewest ones lie where Python's shuffle put them.
    assert STRINGS["validation"].double().mean() == 0.5
    assert STRINGS["train"].double().mean().item() == pytest.approx(396 / (114 * 7))
    assert not torch.equal(STRINGS["train"], bit_strings(7, 15)["train"])


@HYPOTHESIS
@given(seeds, st.sampled_from(["transformer-small", "transformer-small-ndh", "transformer-small-ydh"]))
def test_an_item_hides_one_bit_and_shows_the_parity(seed, name):
    dataset = xor(name)
    assert (dataset.vocabulary, dataset.length, dataset.mask) == (7, 8, 6)
    ids, targets = dataset.batch("train", generator(seed))
    hidden = targets != IGNORED
    assert torch.equal(hidden.sum(1), torch.ones(114, dtype=torch.int64))
    assert not hidden[:, 7].any()
    assert torch.equal(ids == 6, hidden)
    whole = torch.where(hidden, targets, ids)
    bits = (whole[:, :7] >= 2).long()
    assert torch.equal(bits, STRINGS["train"])
    assert torch.equal(whole[:, 7], 4 + bits.sum(1) % 2)
    assert int(whole[:, :7].max()) <= 3


def test_many_draws_at_once_are_those_of_as_many_calls():
    dataset = xor()
    together = dataset.batches("train", generator(3), 5)
    apart = generator(3)
    for ids, targets in zip(*together, strict=True):
        one = dataset.batch("train", apart)
        assert torch.equal(one.ids, ids)
        assert torch.equal(one.targets, targets)


@pytest.mark.parametrize(("zero", "one"), [((0.1, 0.9), (0.5, 0.5)), ((1, 0), (0.2, 0.3, 0.5)), ((0, 1), (1,))])
def test_symbols_come_as_often_as_they_should(zero, one):
    dataset = Xor(zero, one, STRINGS)
    ids, targets = dataset.batches("train", generator(1), 140)
    whole = torch.where(targets != IGNORED, targets, ids)[..., :7].flatten()
    assert len(whole) > 1e5
    for first, probabilities in ((0, zero), (len(zero), one)):
        counts = torch.stack([(whole == first + k).sum() for k in range(len(probabilities))]).double()
        for count, p in zip(counts, probabilities, strict=True):
            assert abs(float(count) - counts.sum() * p) <= 3 * math.sqrt(counts.sum() * p * (1 - p))
    places = (targets != IGNORED).double().mean((0, 1))[:7]
    assert (places - 1 / 7).abs().max() < 3 * math.sqrt(1 / 7 / len(targets) / 114)


@pytest.mark.parametrize("wrong", [(0.5, 0.6), (), (1.5, -0.5), (float("nan"), 1.0)])
def test_what_is_no_distribution_is_one_line(wrong):
    with pytest.raises(InputError, match="zero_dst is .* with the sum 1$") as refused:
        Xor(wrong, (1.0,), STRINGS)
    assert "\n" not in str(refused.value)


class Posterior(torch.nn.Module):
    """The true probabilities of the masked symbol, from parity and the other symbols, or without parity."""

    def __init__(self, dataset, parity=True):
        super().__init__()
        self.dataset, self.parity = dataset, parity

    def forward(self, ids):
        zeros = len(self.dataset.distributions[0])
        bits = ((ids[:, :7] >= zeros) & (ids[:, :7] < self.dataset.even)).sum(1)
        one = ((bits + ids[:, 7] - self.dataset.even) % 2).double() if self.parity else torch.full((len(ids),), 0.5)
        chance = torch.zeros(len(ids), self.dataset.vocabulary, dtype=torch.float64)
        for share, first, probabilities in ((1 - one, 0, 0), (one, zeros, 1)):
            values = torch.tensor(self.dataset.distributions[probabilities], dtype=torch.float64)
            chance[:, first : first + len(values)] = share[:, None] * values
        return chance.clamp(min=1e-300).log()[:, None].expand(-1, 8, -1)


@pytest.mark.parametrize("kind", OPTIMA)
def test_the_true_posterior_reaches_the_optimum_and_chance_does_not_exceed_it(kind):
    dataset = xor(f"transformer-small{kind}")
    best = dataset.optimum()
    assert best["accuracy"] == pytest.approx(OPTIMA[kind][0])
    assert best["cross_entropy"] == pytest.approx(OPTIMA[kind][1], abs=1e-4)
    for split in ("train", "validation"):
        found, own = measures.expected_scores(Posterior(dataset), dataset, split), dataset.optimum(split)
        assert found == pytest.approx(own, abs=1e-9)
    # Fresh draws scatter around it.
    drawn = dataset.batches("train", generator(5), 40)
    ids, targets = (part.flatten(0, 1) for part in drawn)
    guesses = Posterior(dataset)(ids)[:, 0].argmax(1)
    mean = (guesses == targets.max(1).values).double().mean()
    own = dataset.optimum("train")["accuracy"]
    assert abs(mean - own) < 3 * math.sqrt(own * (1 - own) / len(ids))


def test_a_guess_without_parity_scores_what_the_marginals_allow():
    dataset = xor()
    weighted = {"accuracy": [], "cross_entropy": []}
    for split in ("train", "validation", "test"):
        found = measures.expected_scores(Posterior(dataset, parity=False), dataset, split)
        for key, values in weighted.items():
            values.append(found[key] * len(STRINGS[split]))
    assert measures.without_parity(dataset) == 0.45
    # Over all 127 strings, in which a bit is 0 with probability 448/889.
    assert sum(weighted["accuracy"]) / 127 == pytest.approx(0.9 * 448 / 889)
    assert sum(weighted["cross_entropy"]) / 127 == pytest.approx(1.202, abs=2e-3)


def test_the_enumeration_is_every_example_with_its_probability():
    dataset = Xor((0.25, 0.75), (1.0,), {split: part[:3] for split, part in bit_strings(3, 0).items()})
    (ids, targets), weights = dataset.enumerate("train")
    assert float(weights.sum()) == pytest.approx(1)
    exact = {(*row, *target): float(w) for row, target, w in zip(ids.tolist(), targets.tolist(), weights, strict=True)}
    assert len(exact) == len(weights)
    drawn = dataset.batches("train", generator(0), 20_000)
    rows = torch.cat([part.flatten(0, 1) for part in drawn], 1)
    kinds, counts = rows.unique(dim=0, return_counts=True)
    assert {tuple(row) for row in kinds.tolist()} == set(exact)
    for row, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        assert count / len(rows) == pytest.approx(exact[tuple(row)], abs=0.01)


# --- models (checks 3, 9) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "untied", "tied"),
    [
        ("transformer-small", 192, 164),
        ("transformer-medium", 13_376, 13_152),
        ("lstm-small", 2_684, 2_656),
        ("lstm-medium", 94_688, 94_464),
        ("mlp-small", 224, 196),
        ("mlp-medium", 6_032, 5_808),
    ],
)
def test_parameters_are_those_of_the_study(name, untied, tied):
    own = SETTINGS.experiments[name].model
    for is_tied, count in ((False, untied), (True, tied)):
        model = new_model(replace(own, tied=is_tied), 7, 8, seed=0)
        assert sum(parameter.numel() for parameter in model.parameters()) == count
        assert (model.input_embeddings is model.output_embeddings) is is_tied
        ensemble = Ensemble([model], 6)
        assert sum(p.numel() for p in ensemble.parameters.values()) == count
        assert (ensemble.input_embeddings is ensemble.output_embeddings) is is_tied


@pytest.mark.parametrize("name", SMALL)
def test_only_the_transformer_knows_no_order(name):
    model = new_model(SETTINGS.experiments[name].model, 7, 8, seed=1)
    ids = torch.tensor([[6, 0, 1, 2, 3, 1, 2, 4], [6, 2, 1, 3, 4, 0, 1, 2]])
    one, other = model(ids)[:, 0]
    difference = (one - other).abs().max().item()
    assert difference < 1e-5 if name == "transformer-small" else difference > 1e-3


def test_a_mixer_refuses_another_length():
    model = new_model(SETTINGS.experiments["mlp-small"].model, 7, 8, seed=0)
    with pytest.raises(ValueError, match="have 5 symbols but this mixer was made for 8"):
        model(torch.zeros(1, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="have 5 symbols; these models are for 8"):
        Ensemble([model], 6).losses(Ensemble([model], 6).examples(Batch(*torch.zeros(2, 1, 1, 2, 5).long()))[0])
    with pytest.raises(InputError, match="one length"):
        new_model(SETTINGS.experiments["mlp-small"].model, 7, None, seed=0)


# --- many models as one computation ------------------------------------------------------------------------

SHAPES = {
    **{name: SETTINGS.experiments[name].model for name in EIGHT},
    "heads": ModelSettings(name="transformer", layers=3, embedding=6, feedforward=5, heads=3),
    "deep lstm": ModelSettings(name="lstm", layers=3, embedding=3, feedforward=4),
    "deep mixer": ModelSettings(name="mlp", layers=3, embedding=3, feedforward=4, activation="gelu"),
}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_ensemble_gives_losses_and_gradients_of_its_models(shape, tied):
    model = replace(SHAPES[shape], tied=tied)
    single = [new_model(model, 7, 8, seed).double() for seed in range(3)]
    dataset = xor()
    drawn = [dataset.batches("train", generator(seed), 1) for seed in range(3)]
    batch = Batch(*(torch.stack(parts, 1) for parts in zip(*drawn, strict=True)))
    ensemble = Ensemble(single, dataset.mask)
    [examples] = ensemble.examples(batch)
    losses, accuracies, gradients = ensemble.gradients(examples)
    found = dict(zip(ensemble.parameters, gradients, strict=True))
    for number, one in enumerate(single):
        ids, targets = batch.ids[0, number], batch.targets[0, number]
        logits = one(ids)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        assert losses[number].item() == pytest.approx(loss.item(), abs=1e-7)
        hidden = targets != IGNORED
        assert accuracies[number].item() == pytest.approx((logits.argmax(2) == targets)[hidden].double().mean().item())
        expected = torch.autograd.grad(loss, list(one.parameters()))
        for (name, _), gradient in zip(one.named_parameters(), expected, strict=True):
            torch.testing.assert_close(found[name][number], gradient, rtol=0, atol=2e-6)
        assert max(float(gradient.abs().max()) for gradient in expected) > 0.05


def test_of_equal_symbols_the_first_is_the_guess():
    logs = torch.tensor([[[0.0, -1, 0], [-1, 0, 0], [-1, 0, 0]]]).log_softmax(1)  # (1, symbols, n)
    for answers, share in (((0, 0, 0), 2 / 3), ((1, 1, 1), 1 / 3), ((2, 2, 2), 0), ((0, 1, 2), 2 / 3)):
        _, accuracy = _score(logs, torch.tensor(answers)[None, None])
        assert accuracy.item() == pytest.approx(share)
        assert share == pytest.approx((logs.argmax(1) == torch.tensor(answers)).double().mean().item())


def plain_training(run, steps):
    """The same run as anyone would write it: a module, an optimizer and a schedule for each seed."""
    dataset, trained = xor(), []
    trainer = experiment.new_trainer(run, dataset)
    for number, seed in enumerate(run.seeds):
        model = new_model(run.model, 7, 8, seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=run.optimizer.learning_rate, eps=1e-12, weight_decay=0.1)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10_000, eta_min=1e-5)
        for _ in range(steps):
            ids, targets = dataset.batch("train", trainer.generators[number])
            optimizer.zero_grad()
            F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).backward()
            optimizer.step()
            cosine.step()
        trained.append(model)
    return trained


@pytest.mark.parametrize("variant", study.VARIANTS)
@pytest.mark.parametrize("name", SMALL)
def test_200_steps_together_are_200_steps_one_by_one(name, variant):
    run = short(name, variant, epochs=200, seeds=(42, 43))
    trainer, _ = experiment.train(run, xor())
    for number, model in enumerate(plain_training(run, 200)):
        for parameter_name, parameter in model.named_parameters():
            ours, theirs = trainer.models.parameters[parameter_name][number].detach(), parameter.detach()
            if parameter_name.endswith("in_proj_bias"):
                # A constant added to all keys changes no attention: its gradient is nothing but rounding, which Adam
                # brings to full size. All else is the same.
                keys = slice(run.model.embedding, 2 * run.model.embedding)
                ours, theirs = (torch.cat([bias[: keys.start], bias[keys.stop :]]) for bias in (ours, theirs))
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
        start = new_model(run.model, 7, 8, run.seeds[number]).input_embeddings.weight
        assert (start - model.input_embeddings.weight).abs().max() > 0.01


def test_models_with_dropout_train_one_by_one_and_are_evaluated_without_it():
    model = replace(SHAPES["lstm-small"], dropout=0.3)
    run = short(epochs=3, seeds=(1, 2), model=model)
    trainer, _ = experiment.train(run, xor())
    assert type(trainer.models) is Models
    again, _ = experiment.train(run, xor())
    assert all(torch.equal(p, again.models.parameters[name]) for name, p in trainer.models.parameters.items())
    assert trainer.evaluate()["held-out"][0].tolist() == trainer.evaluate()["held-out"][0].tolist()
    together, _ = experiment.train(replace(run, model=replace(model, dropout=0.0)), xor())
    apart, _ = experiment.train(replace(run, model=replace(model, dropout=0.0), one_by_one=True), xor())
    assert isinstance(together.models, Ensemble)
    for name, parameter in together.models.parameters.items():
        torch.testing.assert_close(parameter, apart.models.parameters[name], rtol=0, atol=1e-6)


def test_counts_make_attention_blind_to_where_a_symbol_stands():
    counts = transformer.counted(torch.tensor([[[0, 0, 2]]]), 4)
    assert counts.flatten().exp().tolist() == pytest.approx([2, 0, 1, 0])


# --- training (checks 3, 4, 5, 8, 10) ----------------------------------------------------------------------


def test_the_learning_rate_follows_its_cosine():
    rate = schedule(SETTINGS.scheduler, 5e-4)
    assert [rate(step) for step in (0, 10_000, 20_000)] == pytest.approx([5e-4, 1e-5, 5e-4])
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=5e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10_000, eta_min=1e-5)
    for step in range(50):
        assert rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        cosine.step()
    rise = schedule(replace(SETTINGS.scheduler, name="warm-up", warm_up=4), 1.0)
    assert [rise(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert schedule(replace(SETTINGS.scheduler, name="none"), 0.3)(12_345) == 0.3


@pytest.mark.parametrize("variant", study.VARIANTS)
def test_distances_are_recorded_before_each_step_from_the_initial_weights_on(tmp_path, variant):
    run = short("lstm-small", variant, epochs=7, seeds=(42, 43), cdists=(DistanceSettings(every=2),))
    trainer, state = experiment.train(run, xor())
    experiment.save(trainer, state, run, tmp_path)
    for number, seed in enumerate(run.seeds):
        folder = tmp_path / f"{seed}-lstm{'wt' if variant == 'tied' else ''}"
        own, other = (np.load(folder / f"{side}_cdists.npy") for side in ("input", "output"))
        assert own.shape == other.shape == (5, 7, 7)  # before steps 0, 2, 4 and 6, and after the last
        assert own.dtype == np.float32
        assert np.array_equal(own, own.transpose(0, 2, 1))
        assert not own.diagonal(axis1=1, axis2=2).any()
        model = new_model(run.model, 7, 8, seed)
        for found, embedding in ((own, model.input_embeddings), (other, model.output_embeddings)):
            expected = torch.cdist(embedding.weight, embedding.weight, compute_mode="donot_use_mm_for_euclid_dist")
            np.testing.assert_allclose(found[0], expected.detach(), atol=1e-5)
            assert np.abs(found[-1] - found[0]).max() > 1e-4
        assert np.array_equal(own, other) is (variant == "tied")
        assert trainer.models.input_embeddings[number].shape == (7, 4)


def test_recorded_distances_may_wait_for_evaluations_and_include_the_last():
    run = short(epochs=200, seeds=(1,), cdists=(DistanceSettings(split="validation"),))
    trainer, _ = experiment.train(run, xor())
    _, kept = next(callback for callback in trainer.callbacks if hasattr(callback, "kept")).state()
    assert kept["steps"] == [0, 100, 200]


def test_a_dataset_may_name_the_ids_whose_distances_are_recorded(tmp_path):
    class Some(Xor):
        pairs = torch.tensor([5, 0])

    run = short(epochs=2, seeds=(1,))
    for name, kind in (("all", Xor), ("some", Some)):
        trainer, state = experiment.train(run, kind((0.1, 0.9), (0.5, 0.5), STRINGS))
        experiment.save(trainer, state, run, tmp_path / name)
    own, all_ = (np.load(tmp_path / name / "1-transformer" / "input_cdists.npy") for name in ("some", "all"))
    assert np.array_equal(own, all_[:, [[5], [0]], [5, 0]])


def test_distances_are_euclidean():
    vectors = torch.tensor([[[0.0, 0], [3, 4], [0, 1]]])
    assert distances(vectors)[0].tolist() == [
        [0, 5, 1],
        [5, 0, pytest.approx(math.sqrt(18))],
        [1, pytest.approx(math.sqrt(18)), 0],
    ]


@pytest.mark.parametrize("kind", ["-ndh", "-ydh"])
def test_a_symbol_that_never_occurs_changes_by_decay_alone(kind):
    run = short(f"transformer-small{kind}", epochs=60, seeds=(42, 43))
    trainer, _ = experiment.train(run, xor(f"transformer-small{kind}"))
    rate = schedule(run.scheduler, run.optimizer.learning_rate)
    left = math.prod(1 - rate(step) * 0.1 for step in range(60))
    for number, seed in enumerate(run.seeds):
        start = new_model(run.model, 7, 8, seed).input_embeddings.weight.detach()
        end = trainer.models.input_embeddings[number].detach()
        torch.testing.assert_close(end[1], start[1] * left, rtol=1e-5, atol=0)
        assert (end[0] - start[0] * left).abs().max() > 1e-3  # the others do not


@pytest.mark.parametrize(("name", "batch"), [("transformer-small", 1024), ("mlp-small", 50)])
def test_a_stopped_run_continues_bit_for_bit(tmp_path, name, batch):
    dataset = replace(SETTINGS.dataset, batch=batch)
    run = short(name, epochs=250, seeds=(42, 43), dataset=dataset, log=(LogSettings(every=10, times=False),))
    part = replace(run, epochs=130)
    trainer, state = experiment.train(part, xor())
    experiment.save(trainer, state, part, tmp_path / "stopped")
    restored = experiment.restore(tmp_path / "stopped", run)
    for folder, start in (("resumed", restored), ("whole", None)):
        trainer, state = experiment.train(run, xor(), restored=start)
        experiment.save(trainer, state, run, tmp_path / folder)
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.*"))
    assert len(files) == 2 * 9
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "resumed" / file).read_bytes(), file
    assert not torch.equal(restored["model"][INPUT], state["model"][INPUT])


def test_small_batches_cut_an_epoch_and_may_drop_the_rest():
    for drop, steps in ((False, 3), (True, 2)):
        run = short(epochs=4, seeds=(0,), dataset=replace(SETTINGS.dataset, batch=50, drop_last=drop))
        trainer, _ = experiment.train(run, xor())
        assert trainer.steps == 4 * steps
    trainer = experiment.new_trainer(replace(run, dataset=replace(run.dataset, drop_last=False)), xor())
    [parts] = trainer._draw(1)
    rows = torch.cat([part.ids[0] for part in parts])
    drawn = xor().batch("train", experiment.new_trainer(run, xor()).generators[0]).ids
    assert sorted(rows.tolist()) == sorted(drawn.tolist())
    assert rows.tolist() != drawn.tolist()


def test_decoupling_gives_two_embeddings_that_part():
    run = short("transformer-small", "tied", epochs=30, seeds=(3,), decouple=study.DecoupleSettings(epochs=20))
    trainer, _ = experiment.train(run, xor())
    assert OUTPUT in trainer.models.parameters
    assert 1e-4 < (trainer.models.input_embeddings - trainer.models.output_embeddings).abs().max() < 0.1
    with pytest.raises(InputError, match="tied model"):
        short(decouple=study.DecoupleSettings(epochs=20))


def test_the_best_model_is_that_of_its_best_evaluation(tmp_path):
    run = short("mlp-small", epochs=600, seeds=(42, 43), evaluation=replace(SETTINGS.evaluation, every=50))
    trainer, state = experiment.train(run, xor())
    experiment.save(trainer, state, run, tmp_path)
    for seed in run.seeds:
        folder = tmp_path / run.folder(seed)
        log = [line for line in measures.read_log(folder / "valid_epoch.log") if line["set"] == "held-out"]
        best = max(log, key=lambda line: (line["accuracy"], -line["loss"]))
        saved = torch.load(folder / "modelbest.pt", weights_only=True)
        assert int(saved["epoch"]) == best["epoch"]
        assert saved["value"].tolist() == pytest.approx([best["accuracy"], -best["loss"]], abs=1e-5)
        last = torch.load(folder / "modellast.pt", weights_only=True)
        assert {"model", "optimizer", "scheduler", "epoch", "generator", "rng"} <= set(last)


# --- what training leads to (checks 6, 11, 12) -------------------------------------------------------------


def test_a_short_training_learns_the_marginals_and_exceeds_no_optimum():
    run = short(epochs=2500, seeds=(42, 43))
    trainer, _ = experiment.train(run, xor())
    models = [trainer.models.one(number) for number in range(2)]
    for model in models:
        found, best = measures.expected_scores(model, xor(), "train"), xor().optimum("train")
        assert 0.42 < found["accuracy"] <= best["accuracy"] + 1e-9
        assert found["cross_entropy"] >= best["cross_entropy"] - 1e-9
    log = next(callback for callback in trainer.callbacks if hasattr(callback, "rows"))
    values = torch.stack(log.values["validation_epoch"])
    assert values[:, :, 0].max() < 0.702 + 3 * math.sqrt(0.7 * 0.3 / 120)  # held-out: 12 strings, 10 draws each
    assert values[-2:, :, 1].mean() < values[:2, :, 1].mean() - 1


def test_without_weight_decay_nothing_draws_unused_inputs_together():
    """Check 12 at a length where it can be told apart from decay: what decay does, and what is left without."""
    left = {}
    for decay in (0.0, 0.1):
        optimizer = replace(short().optimizer, weight_decay=decay, learning_rate=0.006)
        run = short(epochs=1500, seeds=(42, 43, 44), optimizer=optimizer)
        trainer, _ = experiment.train(run, xor())
        kept = next(callback for callback in trainer.callbacks if hasattr(callback, "kept")).kept["input"]
        left[decay] = float((kept[-1][:, 0, 1] / kept[0][:, 0, 1]).mean())
    assert left[0.1] < 0.75 * left[0.0]


@pytest.mark.skipif("TIED_EMBEDDINGS_FULL" not in os.environ, reason="takes minutes; set TIED_EMBEDDINGS_FULL=1")
def test_the_study_at_full_length():
    """Checks 11 and 12: 150,000 steps."""
    for name, variant in (
        ("transformer-small", "untied"),
        ("transformer-small", "tied"),
        ("transformer-small-no-decay", "untied"),
    ):
        trainer, _ = experiment.train(short(name, variant, epochs=150_000), xor())
        kept = next(callback for callback in trainer.callbacks if hasattr(callback, "kept")).kept
        left = {
            (side, pair): float((own[-1].mean(0) / own[0].mean(0))[pair])
            for side, own in kept.items()
            for pair in ((0, 1), (2, 3))
        }
        if name == "transformer-small-no-decay":
            assert left["input", (0, 1)] > 0.8
        elif variant == "untied":
            assert max(left["input", (0, 1)], left["input", (2, 3)], left["output", (2, 3)]) < 0.1
            assert left["output", (0, 1)] > 0.2
        else:
            assert left["input", (2, 3)] < 0.1 < left["input", (0, 1)]


# --- verdicts ----------------------------------------------------------------------------------------------


def score_rows(untied, tied, key="solved"):
    return [
        {"variant": variant, "seed": seed, "set": "train-fresh", "solved": True, "accuracy": 0.5, key: value}
        for variant, values in (("untied", untied), ("tied", tied))
        for seed, value in enumerate(values)
    ]


def test_six_discordant_pairs_to_none_and_four_to_none_have_the_p_of_mcnemars_exact_test():
    row = verdicts.learnt(score_rows([True] * 29 + [False], [True] * 23 + [False] * 7))
    assert (row["n"], row["estimate"]) == (30, 6)
    assert row["p"] == pytest.approx(2 * 0.5**6)
    assert verdicts.learnt(score_rows([True] * 4, [False] * 4))["p"] == pytest.approx(0.125)
    assert verdicts.learnt(score_rows([True, False], [True, False]))["p"] == 1


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_the_permutation_test_counts_every_exchange_of_signs(differences):
    signs = itertools.product((-1, 1), repeat=len(differences))
    sums = [sum(s * d for s, d in zip(own, differences, strict=True)) for own in signs]
    wanted = np.mean([abs(total) >= abs(sum(differences)) for total in sums])
    assert verdicts.permutation_test(np.array(differences)) == pytest.approx(wanted)


def test_experiments_that_share_their_seeds_are_no_more_evidence_than_their_seeds():
    """Ten experiments that are copies of one have its p, where pooling their pairs would multiply it tenfold."""
    one = score_rows([True] * 4 + [False], [False] * 4 + [False])
    rows = verdicts.pooled({f"copy {number}": one for number in range(10)})
    assert rows["p"] == pytest.approx(verdicts.learnt(one)["p"])
    assert (rows["n"], rows["estimate"]) == (5, 40)


def test_the_paired_interval_of_a_variant_with_itself_is_exactly_zero_and_of_a_shift_holds_it():
    values = np.random.default_rng(0).normal(size=20)
    same = verdicts.score_difference(score_rows(values, values, "accuracy"), "accuracy")
    assert (same["estimate"], same["p"]) == (0, None)
    noisy = values + 0.3 + 0.1 * np.random.default_rng(1).normal(size=20)
    row = verdicts.score_difference(score_rows(noisy, values, "accuracy"), "accuracy")
    assert row["low"] < 0.3 < row["high"]
    assert row["p"] == pytest.approx(scipy.stats.ttest_rel(noisy, values).pvalue)


def test_which_pair_halves_first_is_a_sign_test_in_which_never_comes_last():
    steps = {"tied": [100, 100, None, 300], "output": [200, None, None, 200]}
    rows = [
        {"pair": "2–3", "violates": False, "side": side, "seed": seed, "halved": step}
        for side, own in steps.items()
        for seed, step in enumerate(own)
    ]
    [row] = verdicts.halved([*rows, {**rows[0], "pair": "0–1", "violates": True}])
    assert (row["n"], row["estimate"], row["p"]) == (4, 1, pytest.approx(1.0))
    assert row["detail"] == "tied first in 2, untied output in 1"


def test_decay_alone_leaves_what_the_schedule_says_and_inputs_at_that_share_are_not_pulled():
    run = SETTINGS.compose("transformer-small", "untied")
    assert measures.decay_alone(replace(run, epochs=150_000)) == pytest.approx(math.exp(-3.83), rel=0.01)
    assert measures.decay_alone(replace(run, optimizer=replace(run.optimizer, weight_decay=0))) == 1
    assert measures.decay_alone(replace(run, optimizer=replace(run.optimizer, name="adam"))) is None
    rng = np.random.default_rng(0)
    for pull in (0.0, -0.5):
        rows = [
            {"side": "input", "seed": seed, "start": 2.0, "end": 2.0 * 0.02 * math.exp(pull + rng.normal(scale=0.1))}
            for seed in range(10)
            for _ in range(2)
        ]
        row = verdicts.pulled(rows, 0.02)
        assert row["n"] == 10
        assert row["low"] < pull < row["high"]


def test_the_tables_of_the_results_are_those_of_the_kept_numbers():
    """One command writes them anew: python studies/tied_embeddings/write_results.py"""
    page = (STUDY / "RESULTS.md").read_text(encoding="utf-8")
    assert filled(page, results.parts(SETTINGS, STUDY / "full_length"), "RESULTS.md") == page


# --- params.yaml -------------------------------------------------------------------------------------------


def test_the_eight_experiments_are_those_of_the_study():
    assert len(EIGHT) == 8
    assert SETTINGS.seeds == (42, 43, 44, 45, 46)
    for name in EIGHT:
        run = SETTINGS.compose(name, "tied")
        assert run.model.tied
        assert run.optimizer.weight_decay == 0.1
        assert run.optimizer.learning_rate == (1e-4 if name == "transformer-medium" else 5e-4)
        assert run.epochs == SETTINGS.steps * (2 if name in ("transformer-medium", "mlp-medium") else 1)
    plain, without = (SETTINGS.experiments[name] for name in SETTINGS.ablation)
    assert replace(plain, weight_decay=0.0) == without


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("zero_dst: [0.1, 0.9]", "zero_dst: [0.1, 0.8]", r"experiments.transformer-small: zero_dst is \[0.1, 0.8\]"),
        ("  - transformer-small-ydh\n", "  - transformer-smal-ydh\n", "did you mean 'transformer-small-ydh'"),
        ("heads: 1, activation", "heads: 3, activation", "which 3 heads do not divide"),
        ("name: cosine ", "name: cosin ", "did you mean 'cosine'"),
        ("\nsteps: ", "\nstps: ", "unknown key stps"),
        ("seeds: [42, 43,", "seeds: [43, 43,", "list different whole numbers"),
        ("bits: 7 ", "bits: 3 ", "dataset.bits"),
        ("split: both ", "split: train ", "log.split is train, but the measures"),
        ("last: true ", "last: false ", "saver.last is false"),
        ("learning_rate: 0.0005", "learning_rate: 0", "transformer-small.learning_rate is 0.0; it must be at least"),
        ("shapes: [tiny-bert, tiny-gpt2]", "shapes: [tiny-bert, tiny-bert]", "language_models: shapes is .* each once"),
        ("symbols: [0, 1]", "symbols: [0, 0]", r"symbols is \[0, 0\]; give two different ids"),
        ("symbols: [0, 1]", "symbols: [3, 2]", r"pairs has \[2, 3\] twice; name each once"),
        ("  - transformer-small-ydh\n", "  - transformer-small\n", r"run is \[.*; name each once"),
        ("symbols: [0, 1]", "symbols: [0, 4]", r"pairs has \[0, 4\], but the symbols of bits are 0 to 3"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, old, new, message):
    text = (STUDY / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        study.read(tmp_path / "params.yaml").compose("transformer-small", "tied")


# --- the command line (check 14) ---------------------------------------------------------------------------


def command_line(*arguments, cwd, code=0):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "studies.tied_embeddings", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Run the command line in this process."""
    from click.testing import CliRunner

    from tied_embeddings.cli import cli

    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(cli, list(arguments))
        if isinstance(result.exception, InputError):
            assert code == 2
            return str(result.exception)
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    return invoke


def commands():
    from tied_embeddings.cli import cli

    return cli.commands


def test_help_at_every_depth(invoke):
    whole = invoke("--help")
    for name, command in commands().items():
        assert name in whole
        text = invoke(name, "--help")
        assert "Options:" in text
        for option in command.params:
            assert option.param_type_name == "argument" or option.help, (name, option.name)
        assert invoke(name, "help") == text
    assert invoke("help") == whole
    assert "bits of a string" in invoke("--seed", "3", "xor", "help")


def test_help_answers_before_anything_heavy_is_loaded():
    command = [sys.executable, "-X", "importtime", "-m", "studies.tied_embeddings", "train", "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "matplotlib", "tqdm"})


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["xor", "lstm", "cosine", "adamw", "train"], "no optimizer before cosine; put adam or adamw before it"),
        (["xor", "adamw", "lstm", "train"], "no model before adamw"),
        (["lstm", "train"], "no dataset before lstm; put xor or mlm before it"),
        (["xor", "train"], "no model; choose a dataset and a model"),
        (["xor", "lsmt", "train"], "did you mean 'lstm'"),
        (["xor", "lstm", "adamw"], "nothing was started; end with train or view"),
        (["xor", "lstm", "mlp", "train"], "mlp is one model too many; choose one"),
        (["plot-accuracy", "a/42-lstm", "b/42-lstm", "--out", "x.pdf"], "tell them apart by --label"),
        (["--seed", "1", "--seed", "2", "mlm", "lstm", "train"], "train one seed at a time"),
        (["mlm", "lstm", "evaluation", "--draws", "2", "train"], "evaluation.draws is 2; on text"),
        (["xor", "xor", "xor", "lstm", "train"], "xor is one dataset too many; choose two"),
        (["xor", "xor", "--bits", "8", "lstm", "train"], "validation must be xor with the bits"),
        (["xor", "lstm", "log", "log", "--split", "train", "train"], "two callbacks write train_epoch.log"),
        (["--config", "a.yaml", "--experiment", "b", "train"], "both start a run; give one"),
    ],
)
def test_parts_out_of_order_are_usage_errors(invoke, arguments, missing):
    assert missing in invoke(*arguments, code=2)


TINY = ["--layers", "1", "--embedding", "2", "--feedforward", "2"]


@pytest.mark.parametrize("model", ["transformer", "transformerwt", "lstm", "lstmwt", "mlp", "mlpwt"])
@pytest.mark.parametrize("schedule_name", ["cosine", "constant", "warm-up"])
def test_every_choice_can_be_chained(invoke, model, schedule_name):
    optimizer = "adam" if model.endswith("wt") else "adamw"
    shown = invoke("xor", "--zero-dst", "1", model, *TINY, "cross-entropy", optimizer, schedule_name, "cdists", "view")
    run = yaml.safe_load(shown)
    assert (run["model"]["name"], run["model"]["tied"]) == (model.removesuffix("wt"), model.endswith("wt"))
    assert run["optimizer"]["name"] == optimizer
    assert run["scheduler"]["name"] == {"constant": "none"}.get(schedule_name, schedule_name)
    assert run["dataset"]["zero_dst"] == [1.0]
    assert run["log"] is None
    assert run["cdists"]["every"] == 1000


def test_a_run_from_chain_or_config_is_the_same_and_is_not_repeated(invoke):
    tiny = ["cosine", "cdists", "log", "--every", "1", "--no-times"]
    invoke("--seed", "5", "--epochs", "3", "xor", "mlpwt", *TINY, "adam", *tiny, "train", "--out", "chain")
    # The original's own order: callbacks and loss, then data, model and how it is trained.
    invoke(
        "--seed",
        "5",
        "--epochs",
        "3",
        *tiny[1:],
        "cross-entropy",
        "xor",
        "mlpwt",
        *TINY,
        "adam",
        "train",
        "--out",
        "own",
    )
    Path("run.yaml").write_text(invoke("--config", "chain/5-mlpwt/settings.json", "view"))
    invoke("--config", "run.yaml", "train", "--out", "config")
    files = {path.name: path.read_bytes() for path in Path("chain/5-mlpwt").iterdir()}
    wanted = {f"{side}_cdists.npy" for side in ("input", "output")} | {"modelbest.pt", "modellast.pt", "settings.json"}
    assert set(files) == wanted | {f"{split}_{kind}.log" for split in ("train", "valid") for kind in ("step", "epoch")}
    for other in ("own", "config"):
        assert {path.name: path.read_bytes() for path in Path(other, "5-mlpwt").iterdir()} == files
    assert "nothing to do" in invoke("--config", "run.yaml", "train", "--out", "chain")
    scores = invoke("test", "chain/5-mlpwt")
    assert re.search(r"5-mlpwt +train +0\.\d{4} +0\.7015", scores)
    Path("chain/5-mlpwt").rename("renamed")
    assert invoke("test", "renamed").splitlines()[1].split()[1:] == scores.splitlines()[1].split()[1:]
    invoke("plot-embeddings", "renamed", "--out", "renamed.png")
    other = invoke("--config", "run.yaml", "--epochs", "2", "train", "--out", "config", code=2)
    assert "config/5-mlpwt holds a run of other settings; give another --out" in other
    changed = yaml.safe_load(invoke("--config", "run.yaml", "adam", "--beta1", "0.5", "view"))
    assert changed["optimizer"]["beta1"] == 0.5
    assert changed["model"]["embedding"] == 2


def test_several_callbacks_of_a_kind_and_a_second_dataset(invoke):
    chain = ["--epochs", "7", "xor", "xor", "--zero-dst", "1,0", "lstm", *TINY, "evaluation", "--every", "1"]
    records = ["cdists", "--every", "3", "cdists", "--split", "validation", "--input", "a", "--output", "b"]
    logs = ["log", "--split", "validation", "--no-times", "log", "--split", "train", "--every", "2"]
    invoke(*chain, *records, *logs, "train", "--out", "runs")
    folder = Path("runs/42-lstm")
    often = np.load(folder / "a.npy")  # before the first epoch and after each
    seldom = np.load(folder / "input_cdists.npy")  # before steps 0, 3, 6, and at the end, after step 7
    np.testing.assert_array_equal(seldom, often[[0, 3, 6, 7]])
    assert len((folder / "train_epoch.log").read_text().splitlines()) == 4
    # Of the held-out strings, bit 0 has one symbol where those trained on have two: the second is never the answer.
    trained = json.loads((folder / "settings.json").read_text())
    assert trained["validation"]["zero_dst"] == [1.0, 0.0]
    Path("one.yaml").write_text(yaml.safe_dump({key: v for key, v in trained.items() if key != "validation"}))
    invoke("--config", "one.yaml", "train", "--out", "one")
    held_out, other = (
        [line for line in (place / "42-lstm/valid_epoch.log").read_text().splitlines() if "held-out" in line]
        for place in (Path("runs"), Path("one"))
    )
    assert held_out[0] != other[0]
    assert (Path("one/42-lstm/train_step.log")).exists()


def test_callbacks_savers_and_plots_of_the_command_line(invoke):
    invoke(
        "--seed", "1", "--seed", "2", "--epochs", "4",
        "xor", "transformerwt", *TINY, "adamw", "constant", "cdists", "--every", "1", "log", "--split", "validation",
        "embedding", "--every", "2", "decouple", "--epochs", "2", "saver", "--every", "2", "--no-best",
        "evaluation", "--every", "1", "train", "--out", "runs",
    )  # fmt: skip
    folder = Path("runs/2-transformerwt")
    assert {path.name for path in folder.glob("*.pt")} == {"model2.pt", "model4.pt", "modellast.pt"}
    assert {path.name for path in folder.glob("*.log")} == {"valid_step.log", "valid_epoch.log"}
    assert np.load(folder / "input_embeddings.npy").shape == (3, 7, 2)
    invoke("plot-distances", str(folder), "--pair", "0,1", "--label", "zeros", "--out", "distances.svg")
    invoke("plot-distances", str(folder), "--out", "all.png", "--stride", "2", "--palette", "viridis")
    invoke("plot-accuracy", str(folder), "--window", "2", "--reference", "0.7", "--out", "accuracy.pdf")
    invoke("plot-embeddings", str(folder), "--side", "output", "--out", "embeddings.png")
    assert all(Path(name).stat().st_size > 1000 for name in ("distances.svg", "all.png", "accuracy.pdf"))
    assert "symbols are 0 to 6" in invoke("plot-distances", str(folder), "--pair", "0,9", "--out", "d.png", code=2)
    assert "must end in" in invoke("plot-embeddings", str(folder), "--out", "x.gif", code=2)
    invoke("xor", "lstm", *TINY, "no-callbacks", "train", "--out", "quiet")
    assert {path.name for path in Path("quiet/42-lstm").iterdir()} == {"modelbest.pt", "modellast.pt", "settings.json"}
    assert "no record of distances" in invoke("plot-distances", "quiet/42-lstm", "--out", "d.png", code=2)
    assert "No such option" in invoke("xor", "lstm", "--heads", "2", "train", code=2)


def test_a_restored_run_goes_on_where_it_stopped(invoke):
    def run(epochs, *how, model=(), code=0, records=("cdists",)):
        chain = ["xor", "mlp", *TINY, *model, *records, "log", "--no-times", "train", *how]
        return invoke("--seed", "1", "--seed", "2", "--epochs", epochs, *chain, code=code)

    run("3", "--out", "part")
    run("6", "--restore", "part", "--out", "resumed")
    run("6", "--out", "whole")
    for path in Path("whole").rglob("*.*"):
        assert path.read_bytes() == Path("resumed", *path.parts[1:]).read_bytes(), path
    assert "at least as many" in run("2", "--restore", "part", "--out", "less", code=2)
    other = run("9", "--restore", "part", "--out", "x", model=["--activation", "gelu"], code=2)
    assert "model.activation is relu there and gelu in this run" in other
    assert "cdists is {" in run("9", "--restore", "part", "--out", "x", code=2, records=())
    run("6", "--restore", "part", "--out", "part")
    assert Path("part/2-mlp/modellast.pt").read_bytes() == Path("whole/2-mlp/modellast.pt").read_bytes()
    assert "does not exist" in run("9", "--restore", "nowhere", "--out", "x", code=2)


def test_a_usage_error_of_the_program_is_one_line_and_code_2(tmp_path):
    out = command_line("xor", "transformer", "--embedding", "3", "--heads", "2", "train", cwd=REPOSITORY, code=2)
    assert len(out.strip().splitlines()) == 1
    assert "which 2 heads do not divide" in out


# --- the pipeline (checks 10, 13) --------------------------------------------------------------------------

DRIVER = """
import os, runpy, sys
sys.path.insert(0, os.environ["STUDY"])
stop = int(os.environ.get("STOP_AFTER", "0"))
if stop:
    from linear_shortcuts.files.partial import Partial
    save = Partial.save
    def stopping(self, unit, files, note=None):
        save(self, unit, files, note)
        if note >= stop:
            raise KeyboardInterrupt
    Partial.save = stopping
for line in sys.argv[1:]:
    sys.argv = line.split()
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
QUICK = {  # short strings, so that all that can be drawn is soon enumerated
    "\nsteps: ": "\nsteps: 40 #",
    "checkpoint: ": "checkpoint: 15 #",
    "  every: 100 ": "  every: 10 ",
    "bits: 7 ": "bits: 4 ",
}


def small_study(folder, experiments):
    (folder / study.STUDY).mkdir(parents=True)
    text = (STUDY / "params.yaml").read_text()
    for old, new in QUICK.items():
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"^run:.*?^steps", f"run: [{', '.join(experiments)}]\nsteps", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"    length: 2\n", "", text)
    (folder / study.PARAMS).write_text(text)
    return folder


def drive(folder, *lines, code=0, **environment):
    lines = [f"{STUDY}/{line}" for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *lines], cwd=folder, text=True, capture_output=True, timeout=240,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "STUDY": str(STUDY), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout + done.stderr


def files_of(folder):
    root = folder / study.STUDY / "data"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_every_experiment_runs_through_the_stages_and_a_killed_one_ends_with_the_same_bytes(tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("scipy")
    whole = small_study(tmp_path / "whole", SETTINGS.experiments)
    stages = [
        *(f"02_train.py --experiment {name} --variant {v}" for name in SETTINGS.experiments for v in study.VARIANTS),
        *(f"03_measure.py --experiment {name}" for name in SETTINGS.experiments),
    ]
    drive(whole, "01_generate.py", *stages)
    killed = small_study(tmp_path / "killed", ["transformer-small"])
    out = drive(killed, "01_generate.py", stages[0], code=130, STOP_AFTER="30")
    assert "what was finished is kept" in out
    assert "checkpoints resumed" not in out
    assert "(2 checkpoints resumed)" in drive(killed, stages[0])
    assert "(2 checkpoints resumed)" in drive(killed, stages[0])  # a finished run: nothing is trained again
    found, other = files_of(whole), files_of(killed)
    assert len([name for name in other if "xor" in name]) == 5 * 9
    assert [name for name in other if found[name] != other[name]] == []
    check_report(whole)
    plt.close("all")


def check_report(folder):
    from tied_embeddings import report

    settings = study.read(folder / study.PARAMS)
    before = Path.cwd()
    os.chdir(folder)
    try:
        found = report.load(settings)
        figures = report.figures_of(found, settings)
        tables = report.tables_of(found)
    finally:
        os.chdir(before)
    for name in SETTINGS.experiments:
        for figure in ("embeddings_wt", "input_embeddings", "output_embeddings", "accuracies"):
            assert f"{name}/{figure}" in figures
    assert {"overview", "weight_decay"} <= set(figures)
    axis = figures["transformer-small-ndh/accuracies"].axes[0]
    assert [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"] == [0.95]
    assert figures["transformer-small/input_embeddings"].axes[0].get_ylim() == (0, 4)
    assert len(tables["scores"]) == 9 * 2 * 5 * 2
    metrics = report.metrics_of(found)
    assert set(metrics["lstm-small"]["untied"]) == {"train_fresh", "held_out", "solved", "left"}
    row = next(row for row in tables["distances"] if row["experiment"] == "mlp-small" and row["side"] == "tied")
    folder = folder / study.Folders("mlp-small").runs("tied") / f"{row['seed']}-mlpwt"
    kept = np.load(folder / "input_cdists.npy")
    assert (row["start"], row["end"]) == (pytest.approx(kept[0, 0, 1]), pytest.approx(kept[-1, 0, 1]))


def test_strings_of_another_length_are_refused(tmp_path):
    from linear_shortcuts.files import artifacts

    artifacts.save(tmp_path / "strings.pickle", STRINGS)
    assert torch.equal(experiment.load_strings(7, tmp_path / "strings.pickle")["train"], STRINGS["train"])
    with pytest.raises(InputError, match=r"strings of 7 bits, but dataset.bits is 5; run .*01_generate"):
        experiment.load_strings(5, tmp_path / "strings.pickle")


def test_a_thinned_curve_keeps_its_last_point():
    plt = pytest.importorskip("matplotlib.pyplot")
    from tied_embeddings import figures

    _, axis = plt.subplots()
    rows = list(measures.curve({}, np.arange(0, 4020, 10), np.ones((2, 402))))
    figures._curve(axis, rows, (0, 1), color="k")
    assert axis.lines[-1].get_xdata()[[0, 1, -1]].tolist() == [0, 30, 4010]
    plt.close()


@pytest.mark.parametrize(("seeds", "lines", "bands"), [(5, 6, 0), (6, 1, 1)])
def test_few_seeds_are_lines_of_their_own_and_many_a_band(seeds, lines, bands):
    plt = pytest.importorskip("matplotlib.pyplot")
    from tied_embeddings import figures

    _, axis = plt.subplots()
    rows = list(measures.curve({}, np.arange(3), np.linspace(0, 1, 3 * seeds).reshape(seeds, 3)))
    figures._curve(axis, rows, (0, 1), color="k")
    assert (len(axis.lines), len(axis.collections)) == (lines, bands)
    plt.close()


def test_curves_carry_student_intervals():
    from scipy.stats import t

    values = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 5.0]])
    rows = list(measures.curve({}, np.array([0, 10]), values))
    low, high = t.interval(0.95, 2, loc=3, scale=2 / math.sqrt(3))
    assert (rows[0]["value"], rows[0]["low"], rows[0]["high"]) == pytest.approx((3, low, high))
    assert rows[1]["step"] == 10


# --- scripts and dvc.yaml ----------------------------------------------------------------------------------


@pytest.mark.parametrize("script", sorted(STUDY.glob("0*.py")), ids=lambda path: path.stem)
def test_a_script_is_a_short_recipe_whose_help_teaches(script):
    assert len(script.read_text().splitlines()) <= 70
    command = [sys.executable, "-X", "importtime", str(script), "--help"]
    done = subprocess.run(command, cwd=STUDY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    for heading in ("Reads ", "Writes ", f"Example: python studies/tied_embeddings/{script.name}"):
        assert re.search(rf"^{heading}", done.stdout, re.MULTILINE), heading
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "matplotlib", "tqdm", "yaml"})


def test_the_settings_that_training_depends_on_are_listed():
    stage = yaml.safe_load((STUDY / "dvc.yaml").read_text())["stages"]["train"]
    listed = set(stage["params"])
    parts = {"cdists", "dataset", "evaluation", "log", "optimizer", "saver", "scheduler", "seeds", "steps"}
    assert listed == parts | {"experiments.${item.experiment}"}
