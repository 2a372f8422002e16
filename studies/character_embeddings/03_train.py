"""Train the network on the names, with one line for each epoch.

Reads   studies/character_embeddings/data/SOURCE/names.pickle, vocabulary.json   from stage 01
Writes  studies/character_embeddings/data/SOURCE/model/   model.pickle: weights, shape, settings; train_log.jsonl:
        loss and running mean of every step; validation_log.jsonl: both losses of every epoch; summary.txt

A killed run continues after its last epoch. The device is the CPU unless you name another: the fastest for so small
a network.

Example: python studies/character_embeddings/03_train.py
"""

from character_embeddings import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from dataclasses import asdict

    from tqdm import tqdm

    from character_embeddings import network, training
    from character_embeddings.data import load_data, recipe, saved_network
    from character_embeddings.logs import epoch_line, save_training
    from linear_shortcuts.files import Partial

    device = training.device_of(args.device)
    data = load_data(settings)
    train, validation = data.pairs(settings.block_size)
    model = network.new_network(len(data.vocabulary), settings.block_size, settings.network, settings.seed)
    summary = network.summarize(model)
    print(summary)
    steps = settings.training.epochs * training.steps_per_epoch(train, settings.training)
    used = {key: asdict(settings)[key] for key in ("seed", "train_share", "block_size", "network", "training")}
    with Partial("character_embeddings/03_train", settings.names, recipe(data, used), code=__file__) as partial:
        with tqdm(total=steps, desc=f"{settings.names}: train", unit="step", disable=None) as bar:
            record = training.train(
                model, train, validation, settings.training, settings.seed, device, partial,
                callbacks=[lambda step, loss: bar.update(step - bar.n)],
                on_epoch=lambda line: tqdm.write(epoch_line(line, settings.training.epochs)),
            )  # fmt: skip
        folder = study.Folders(settings.names).model
        save_training(folder, saved_network(model.cpu(), used), record, settings.training, summary)
        partial.forget_others()
    last = record.epochs[-1]
    print(
        f"{settings.names}: {steps:,} steps ({partial.resumed} checkpoints resumed), validation loss "
        f"{last['validation']:.4f} nats per character, in {folder}"
    )


if __name__ == "__main__":
    run(main)
