"""The training text: distinct prose, and no held-out sentence that was seen in training."""

from linear_shortcuts.training import training_text

PROSE = [f"This function returns the {word} of its argument as a string." for word in "abcdefghijklmnopqrstuvwxyz"]


def by_line(paragraph):
    return paragraph.splitlines()


def test_no_sentence_stands_twice_and_none_of_the_corpus_of_the_study_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(training_text, "read_articles", lambda corpus, seed: [PROSE[0].upper()])
    package = tmp_path / "package"
    package.mkdir()
    for number in range(200):  # every sentence in many files, so that held-out ones hold some too
        doc = "\n\n".join(PROSE[number % 26 :: 5])
        (package / f"m{number}.py").write_text(f'"""{doc}\n\nOwn to file number {number}, this sentence is not."""\n')
    text = training_text.read_training_text(by_line, [package], seed=0)
    train = [sentence for file in text.train for sentence in file]
    held_out = [sentence for file in text.held_out for sentence in file]
    assert len(train) > 150
    assert len(held_out) > 2
    assert len({*train, *held_out}) == len(train) + len(held_out)
    assert PROSE[0] not in {*train, *held_out}
    assert set(PROSE[1:]) <= {*train, *held_out}
    again = training_text.read_training_text(by_line, [package], seed=0)
    assert again.sha256 == text.sha256
    assert training_text.read_training_text(by_line, [package], seed=1).sha256 != text.sha256
