"""No two artifacts share a place, and those of two models or corpora none."""

from linear_shortcuts.settings.folders import SPLITS, Folders, sentences_file


def places(model, corpus):
    folders = Folders(model, corpus)
    single = {getattr(folders, name) for name, value in vars(Folders).items() if isinstance(value, property)}
    return {path for path in single if path != folders._data} | {
        kind(split) for kind in (folders.tokens, folders.hidden) for split in SPLITS
    }


def test_every_artifact_of_every_model_and_corpus_has_a_place_of_its_own():
    assert len(places("m", "c")) == 13
    assert places("m", "c").isdisjoint(places("n", "c"))
    assert places("m", "c") & places("m", "d") == {Folders("m", "c").metrics}  # of the one corpus that is chosen
    assert sentences_file("c") != sentences_file("d")
    assert sentences_file("c") not in places("m", "c") | places("sentences", "c")
