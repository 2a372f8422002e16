"""Fit the count models (bigram, trigram, …) and score them on names they have not seen.

Reads   studies/character_embeddings/data/SOURCE/names.pickle, vocabulary.json   from stage 01
Writes  studies/character_embeddings/data/SOURCE/counts/   order_N.pickle, the probabilities (V,) * N; counts.json

Example: python studies/character_embeddings/02_count_models.py
"""

from character_embeddings import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from character_embeddings import counts
    from character_embeddings.data import load_data
    from linear_shortcuts.files import artifacts

    data = load_data(settings)
    folder = study.Folders(settings.names).counts
    records = []
    for order in sorted(settings.orders):
        train, validation = data.pairs(order - 1)
        model = counts.fit_counts(train, order, len(data.vocabulary), settings.alpha)
        artifacts.save(folder / f"order_{order}.pickle", model.probabilities)
        losses = {"train": model.loss(train), "validation": model.loss(validation)}
        records.append({"order": order, **losses, "parameters": model.probabilities.numel()})
    artifacts.save_json(folder / "counts.json", records)
    losses_text = ", ".join(f"{record['validation']:.4f}" for record in records)
    print(
        f"{settings.names}: {len(train.targets):,} + {len(validation.targets):,} pairs; validation loss of orders "
        f"{sorted(settings.orders)}: {losses_text} nats per character, in {folder}"
    )


if __name__ == "__main__":
    run(main)
