"""What the stages saved, loaded for the next ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_embeddings.counts import CountModel
from character_embeddings.network import CharacterModel, check_vocabulary
from character_embeddings.settings import Folders, Settings
from character_embeddings.vocabulary import Pairs, Vocabulary, pairs, split
from linear_shortcuts.files import artifacts

SCRIPTS = "studies/character_embeddings"


@dataclass(frozen=True)
class Data:
    """The names of a source with their vocabulary, and how they are split."""

    names: list[str]
    vocabulary: Vocabulary
    train_share: float

    def pairs(self, block_size: int) -> tuple[Pairs, Pairs]:
        """The pairs to train on, and those for validation."""
        train, validation = split(self.names, self.train_share)
        return pairs(train, self.vocabulary, block_size), pairs(validation, self.vocabulary, block_size)


def load_data(settings: Settings) -> Data:
    """What stage 01 made of the names."""
    folders = Folders(settings.names)
    found = artifacts.load(folders.names, made_by=f"{SCRIPTS}/01_prepare_names.py")
    return Data(found["names"], Vocabulary.load(folders.vocabulary), settings.train_share)


def load_network(folder: Path, vocabulary: Vocabulary) -> CharacterModel:
    """The network that stage 03 trained, in evaluation mode; `InputError` if it has another vocabulary."""
    saved = artifacts.load(folder / "model.pickle", made_by=f"{SCRIPTS}/03_train.py")
    network = CharacterModel(**saved["shape"])
    check_vocabulary(network, vocabulary)
    network.load_state_dict(saved["weights"])
    return network.eval()


def saved_network(network: CharacterModel, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `load_network` needs, and the settings the network was trained with."""
    shape = {
        "vocabulary": network.embedding.num_embeddings,
        "block_size": network.block_size,
        "embedding": network.embedding.embedding_dim,
        "width": network.hidden.out_features,
    }
    return {"shape": shape, "weights": dict(network.state_dict()), "settings": dict(settings)}


def load_counts(folder: Path, orders: Iterable[int]) -> dict[int, CountModel]:
    """The count models that stage 02 fitted, by order."""
    script = f"{SCRIPTS}/02_count_models.py"
    return {
        order: CountModel(artifacts.load(folder / f"order_{order}.pickle", made_by=script)) for order in sorted(orders)
    }


def recipe(data: Data, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What partial work depends on besides code: the names and some settings."""
    return {"names": artifacts.fingerprint(data.names), "settings": settings}
