"""How much faster is training on pairs that lie on the device than the usual Dataset and DataLoader loop?

Trains the network of the character embeddings study on the same pairs in the same order in three ways and prints steps
per second, medians over rounds that take turns, and how far losses and weights differ:

    loader       a Dataset over lists, a DataLoader, autograd, AdamW on every parameter: as it is usually written
    tensors      the same with a Dataset over tensors
    ours, autograd   all pairs on the device, shuffled once an epoch; one parameter vector for AdamW
    ours         the same with gradients in closed form, which is what the study trains with

All run on one thread, the fastest for matrices this small, and time is that of the processor, so that other work on the
machine weighs little. With --full, a whole training is timed too.

Example: python benchmarks/character_training.py --file surnames_freq_ge_100.csv --file surnames_freq_ge_20_le_99.csv
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "studies" / "character_embeddings"))
from character_embeddings import names, network, settings, training
from character_embeddings.vocabulary import Pairs, Vocabulary, pairs, split

STUDY = Path(settings.__file__).resolve().parents[1]


class ListDataset(Dataset):
    """Contexts and targets as lists, made into tensors one at a time."""

    def __init__(self, pairs: Pairs) -> None:
        self.contexts, self.targets = pairs.contexts.tolist(), pairs.targets.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(self.contexts[place]), torch.tensor(self.targets[place])


class TensorDataset(ListDataset):
    def __init__(self, pairs: Pairs) -> None:
        self.contexts, self.targets = pairs

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.contexts[place], self.targets[place]


Result = tuple[float, list[float], torch.Tensor]  # seconds, losses, weights


def usual(
    dataset: Dataset, model: torch.nn.Module, config: settings.Training, order: torch.Tensor, total: int
) -> Result:
    """A training loop as it is usually written, with losses and their running mean kept."""
    loader = DataLoader(dataset, batch_size=config.batch, sampler=order.tolist())
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=config.max_learning_rate, total_steps=total)
    losses: list[float] = []
    running: list[float] = []
    start = time.process_time()
    for contexts, targets in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(contexts), targets)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        running.append(statistics.fmean(losses[-58:]))
    return time.process_time() - start, losses, weights(model)


def ours(pairs: Pairs, model: network.CharacterModel, config: settings.Training, order: torch.Tensor, total: int,
         closed_form: bool) -> Result:  # fmt: skip
    trainer = training.new_trainer(model, config, total, torch.device("cpu"))
    if not closed_form:
        trainer.backward = with_autograd(trainer)
    start = time.process_time()
    losses = trainer.epoch(pairs, config.batch, order)
    training.running_mean(losses, len(losses), config.running_share)
    return time.process_time() - start, losses, weights(model)


def with_autograd(trainer: training.Trainer) -> training.Backward:
    """Autograd into the gradients that are there, which are views of one vector."""
    gradients = [parameter.grad for parameter in trainer.model.parameters()]

    def backward(contexts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        for gradient in gradients:
            gradient.zero_()
        loss = trainer.loss(trainer.model(contexts), targets)
        loss.backward()
        return loss.detach()

    return backward


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", action="append", help="the surnames' CSV files; without any, made-up names")
    parser.add_argument("--steps", type=int, default=400, help="steps of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="the median counts (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="time a whole training, evaluation included")
    args = parser.parse_args()

    chosen = settings.read(STUDY / "params.yaml")
    source = chosen.sources["surnames" if args.file else "generated"]
    found = names.read(replace(source, paths=tuple(args.file)) if args.file else source).names
    vocabulary = Vocabulary.of(found)
    train, validation = (pairs(part, vocabulary, chosen.block_size) for part in split(found, chosen.train_share))
    config, total = chosen.training, chosen.training.epochs * training.steps_per_epoch(train, chosen.training)
    steps = min(args.steps, len(train.targets) // config.batch)
    order = training.shuffled(len(train.targets), chosen.seed, 0)[: steps * config.batch]
    listed, tensors = ListDataset(train), TensorDataset(train)
    ways: dict[str, Callable[[network.CharacterModel], Result]] = {
        "loader": lambda model: usual(listed, model, config, order, total),
        "tensors": lambda model: usual(tensors, model, config, order, total),
        "ours, autograd": lambda model: ours(train, model, config, order, total, closed_form=False),
        "ours": lambda model: ours(train, model, config, order, total, closed_form=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    last: dict[str, Result] = {}
    with training.one_thread():
        for _ in range(args.rounds):
            for name, way in ways.items():
                last[name] = way(network.new_network(len(vocabulary), chosen.block_size, chosen.network, chosen.seed))
                rates[name].append(steps / last[name][0])
    print(f"{len(train.targets):,} pairs, batches of {config.batch}, {steps} steps, {args.rounds} rounds, one thread")
    print(f"{'':16}{'steps/s':>10}{'of loader':>11}{'loss differs':>14}{'weights differ':>16}")
    for name, values in rates.items():
        ratio = statistics.median(rate / base for rate, base in zip(values, rates["loader"], strict=True))
        loss = max(abs(one - other) for one, other in zip(last[name][1], last["loader"][1], strict=True))
        weight = float((last[name][2] - last["loader"][2]).abs().max())
        print(f"{name:16}{statistics.median(values):>10,.0f}{ratio:>10.1f}x{loss:>14.1e}{weight:>16.1e}")
    if args.full:
        model = network.new_network(len(vocabulary), chosen.block_size, chosen.network, chosen.seed)
        start = time.perf_counter()
        record = training.train(model, train, validation, config, chosen.seed)
        seconds = time.perf_counter() - start
        loss = record.epochs[-1]["validation"]
        print(
            f"whole training: {len(record.losses):,} steps in {seconds:.1f} s (wall clock), validation loss {loss:.4f}"
        )


if __name__ == "__main__":
    main()
