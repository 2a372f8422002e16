"""Draw new names from the network and from the count models, each until its end symbol.

Reads   studies/character_embeddings/data/SOURCE/   vocabulary.json, counts/ and model/ from stages 01 to 03
Writes  studies/character_embeddings/data/SOURCE/new_names.txt   a row a seed, a column a model

Example: python studies/character_embeddings/04_sample_names.py
"""

from character_embeddings import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from character_embeddings import sampling
    from character_embeddings.data import load_counts, load_data, load_network
    from character_embeddings.logs import names_text
    from linear_shortcuts.files import atomic_file

    folders = study.Folders(settings.names)
    data = load_data(settings)
    network = load_network(folders.model, data.vocabulary)
    models = {f"{order}-gram": model for order, model in load_counts(folders.counts, settings.orders).items()}
    models["network"] = sampling.probabilities(network)
    block_size = max(network.block_size, *settings.orders)
    columns = {
        name: sampling.new_names(model, data.vocabulary, block_size, settings.sampling)
        for name, model in models.items()
    }
    text = names_text(columns)
    with atomic_file(folders.new_names) as file:
        file.write(text.encode())
    known = len(set(columns["network"]) & set(data.names))
    print(text, end="")
    print(
        f"{settings.names}: {settings.sampling.names} names of each of {len(columns)} models; {known} of the network's "
        f"are in the list, in {folders.new_names}"
    )


if __name__ == "__main__":
    run(main)
