"""How much faster do five seeds train as one computation than one after the other?

Trains the models of the tied embeddings study on the same draws in two ways, prints milliseconds per step of all five
seeds as medians over rounds that take turns, and how far the input embeddings are apart after all rounds:

    loop      an nn.Module, AdamW and a cosine schedule for each seed, as it is usually written
    together  all seeds as one computation, as the study trains

Both run on one thread, the fastest for matrices this small, and time is that of the processor, so that other work on
the machine weighs little. Drawing is part of neither.

Example: python benchmarks/tied_embeddings.py --experiment transformer-small
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "studies" / "tied_embeddings"))
from tied_embeddings import experiment, settings
from tied_embeddings.dataset import Batch, bit_strings
from tied_embeddings.models import new_model

STUDY = Path(settings.__file__).resolve().parents[1]


class Loop:
    """Ordinary training of ordinary modules."""

    def __init__(self, run: settings.Run) -> None:
        self.models = [new_model(run.model, 7, 8, seed) for seed in run.seeds]
        self.optimizers = [
            torch.optim.AdamW(
                model.parameters(),
                lr=run.optimizer.learning_rate,
                eps=run.optimizer.epsilon,
                weight_decay=run.optimizer.weight_decay,
            )
            for model in self.models
        ]
        self.schedules = [
            torch.optim.lr_scheduler.CosineAnnealingLR(one, run.scheduler.half_period, run.scheduler.lowest)
            for one in self.optimizers
        ]

    def step(self, ids: torch.Tensor, targets: torch.Tensor) -> None:
        for number, model in enumerate(self.models):
            self.optimizers[number].zero_grad()
            F.cross_entropy(model(ids[number]).flatten(0, 1), targets[number].flatten()).backward()
            self.optimizers[number].step()
            self.schedules[number].step()


def difference(loop: Loop, trainer: experiment.Trainer) -> float:
    """The largest difference of two numbers of the input embeddings."""
    theirs = torch.stack([model.input_embeddings.weight for model in loop.models])
    return float((theirs - trainer.models.input_embeddings).detach().abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", action="append", help="may be repeated (default: all shapes of models)")
    parser.add_argument("--steps", type=int, default=20, help="steps of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="the median counts (default: %(default)s)")
    args = parser.parse_args()
    chosen = settings.read(STUDY / "params.yaml")
    shapes = [f"{kind}-{size}" for size in ("small", "medium") for kind in ("transformer", "lstm", "mlp")]
    strings = bit_strings(chosen.dataset.bits, chosen.dataset.seed)
    print(
        f"{len(chosen.seeds)} seeds, tied, {args.steps} steps a round, {args.rounds} rounds; ms per step of all seeds"
    )
    print(f"{'':20}{'loop':>8}{'together':>10}{'ratio':>8}{'vectors differ':>16}")
    torch.set_num_threads(1)
    for name in args.experiment or shapes:
        run = replace(chosen.compose(name, "tied"), one_by_one=False)
        dataset = experiment.xor(run.dataset, strings)
        loop, trainer = Loop(run), experiment.new_trainer(run, dataset)
        times: dict[str, list[float]] = {"loop": [], "together": []}
        for _ in range(args.rounds):
            drawn = [dataset.batches("train", generator, args.steps) for generator in trainer.generators]
            batches = Batch(*(torch.stack(parts, 1) for parts in zip(*drawn, strict=True)))
            start = time.process_time()
            for ids, targets in zip(*batches, strict=True):
                loop.step(ids, targets)
            times["loop"].append((time.process_time() - start) / args.steps * 1000)
            start = time.process_time()
            for examples in trainer.models.examples(batches):
                trainer.step(examples)
            times["together"].append((time.process_time() - start) / args.steps * 1000)
        ratio = statistics.median(old / new for old, new in zip(*times.values(), strict=True))
        one, together = (statistics.median(values) for values in times.values())
        print(f"{name:20}{one:>8.2f}{together:>10.2f}{ratio:>7.1f}x{difference(loop, trainer):>16.1e}")


if __name__ == "__main__":
    main()
