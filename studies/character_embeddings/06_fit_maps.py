"""Fit maps from the concatenated vectors to the hidden layer and the logits: how linear is this network's road?

Reads   studies/character_embeddings/data/SOURCE/   names.pickle, vocabulary.json and model/ from stages 01 and 03
Writes  studies/character_embeddings/data/SOURCE/maps/   SOURCE_TARGET.pickle: matrices for `A @ x`; scores.json

Example: python studies/character_embeddings/06_fit_maps.py
"""

from character_embeddings import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from character_embeddings import linearity
    from character_embeddings.data import load_data, load_network
    from linear_shortcuts.files import artifacts

    folders = study.Folders(settings.names)
    data = load_data(settings)
    network = load_network(folders.model, data.vocabulary)
    train, validation = data.pairs(network.block_size)
    maps = linearity.fit_maps(network, train)
    for name, matrix in maps.items():
        artifacts.save(folders.maps / f"{name}.pickle", matrix)
    scores = linearity.score_maps(network, maps, validation)
    artifacts.save_json(folders.maps / "scores.json", scores)
    to_logits = next(score for score in scores if (score["source"], score["target"]) == ("affine", "logits"))
    print(
        f"{settings.names}: {len(maps)} maps; to the logits r2 {to_logits['r2']:.3f}, Precision@1 "
        f"{to_logits['precision_at_1']:.3f}, in {folders.maps}"
    )


if __name__ == "__main__":
    run(main)
