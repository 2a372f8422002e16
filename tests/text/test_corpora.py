"""Sentences: every source gives the same ones to the same seed, distinct, and says plainly when it cannot."""

import itertools
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.settings.params import FileCorpus, WikipediaCorpus
from linear_shortcuts.text import corpora


def by_full_stop(paragraph: str) -> list[str]:
    """A splitter good enough for the tests' own sentences."""
    return [f"{part.strip()}." for part in paragraph.split(".") if part.strip()]


# --- drawing -----------------------------------------------------------------------------------------------

# Ten sentences an article; the last of each is the same everywhere.
ARTICLES = [
    "\n".join(f"Sentence {i} of article {a}. Its end {a} {i}." for i in range(4)) + f"\nNearly the end {a}. The end."
    for a in range(30)
]
DISTINCT = 30 * 9 + 1
ALL = FileCorpus(source="file", path="unused.txt", unit="articles")


def one_an_article(**more) -> FileCorpus:
    return FileCorpus(source="file", path="unused.txt", unit="articles", sentences_per_article=1, **more)


def draw(corpus, train=20, validation=5, seed=0, articles=ARTICLES, split=by_full_stop):
    return corpora.draw(corpus, articles, split, train, validation, seed)


@pytest.mark.parametrize("corpus", [ALL, one_an_article()], ids=["all", "one an article"])
def test_a_draw_depends_on_the_seed_and_only_on_it(corpus):
    assert draw(corpus) == draw(corpus)
    assert draw(corpus, seed=1).train != draw(corpus).train


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 10), st.integers(0, 2**63), st.booleans())
def test_drawn_sentences_are_distinct_and_the_splits_never_overlap(train, validation, seed, one):
    drawn = draw(one_an_article() if one else ALL, train, validation, seed)
    assert (len(drawn.train), len(drawn.validation)) == (train, validation)
    assert len({*drawn.train, *drawn.validation}) == train + validation


def test_without_a_limit_every_distinct_sentence_is_a_candidate():
    drawn = draw(ALL, DISTINCT - 1, 1)
    assert (drawn.candidates, drawn.articles) == (DISTINCT, 30)
    assert {*drawn.train, *drawn.validation} == {
        s for article in ARTICLES for s in by_full_stop(article.replace("\n", ""))
    }


def streamed(number):
    return WikipediaCorpus(
        source="wikipedia", dataset="unused", config=None, revision=None, sentences_per_article=number
    )


def test_one_sentence_a_streamed_article_takes_exactly_one_and_reads_no_more_articles_than_needed():
    articles = [article.removesuffix("The end.") for article in ARTICLES]
    read = []
    drawn = draw(streamed(1), 7, 3, articles=(read.append(article) or article for article in articles))
    assert len(read) == drawn.articles == 10
    sentences = drawn.train + drawn.validation
    assert [sum(sentence in article for sentence in sentences) for article in read] == [1] * 10


def test_several_sentences_an_article_are_distinct_sentences_of_it():
    drawn = draw(streamed(3), 27, 3)
    counts = Counter(re.search(r"\d+(?=\.| \d+\.)", s)[0] for s in drawn.train + drawn.validation if s != "The end.")
    assert drawn.articles == 10
    assert set(counts.values()) <= {2, 3}


def test_a_sentence_already_taken_from_another_article_is_not_taken_again():
    drawn = draw(one_an_article(), 2, 1, articles=["Same."] * 5 + ["Other.", "Third."])
    assert sorted(drawn.train + drawn.validation) == ["Other.", "Same.", "Third."]
    assert drawn.articles == 7


def test_paragraph_final_keeps_only_the_last_sentence_of_each_paragraph():
    drawn = draw(FileCorpus(source="file", path="unused.txt", unit="articles", paragraph_final=True), 100, 20)
    assert drawn.candidates == 30 * 4 + 1
    assert all(sentence.startswith(("Its end", "The end")) for sentence in drawn.train + drawn.validation)
    # The positive control: without the rule there are others.
    assert any(sentence.startswith("Sentence") for sentence in draw(ALL, 100, 20).train)


def test_sentences_out_of_bounds_are_left_out_and_counted():
    corpus = FileCorpus(source="file", path="unused.txt", unit="articles", min_characters=3, max_characters=5)
    drawn = draw(corpus, 2, 1, articles=["a.\nab.\nabc.\nabcd.\nabcde."])
    assert sorted(drawn.train + drawn.validation) == ["ab.", "abc.", "abcd."]
    assert drawn.left_out == {"too long": 1, "too short": 1}


def test_every_candidate_is_drawn_equally_often():
    """300 draws of 6 from 12: each is expected 150 times, with a standard deviation below 9."""
    articles = [f"Sentence {number}." for number in range(12)]
    drawn = [draw(ALL, 4, 2, seed, articles) for seed in range(300)]
    counts = Counter(sentence for one in drawn for sentence in one.train + one.validation)
    assert len(counts) == 12
    assert all(110 < count < 190 for count in counts.values()), counts
    validation = Counter(sentence for one in drawn for sentence in one.validation)
    assert all(20 < count < 80 for count in validation.values()), validation


def test_every_sentence_of_an_article_is_chosen_equally_often():
    articles = [" ".join(f"Number {i} of {a}." for i in range(4)) for a in range(400)]
    drawn = draw(one_an_article(), 399, 1, articles=articles)
    counts = Counter(sentence.split()[1] for sentence in drawn.train + drawn.validation)
    assert all(70 < counts[str(i)] < 130 for i in range(4)), counts


def test_too_few_sentences_end_with_both_counts_and_what_to_change():
    with pytest.raises(
        InputError, match=r"271 distinct usable sentences in 30 articles.* 300 to train and 5 for"
    ) as caught:
        draw(ALL, 300, 5)
    assert "lower either, or give a larger corpus" in str(caught.value)
    with pytest.raises(InputError, match=r"has 30 distinct"):
        draw(one_an_article(), 30, 1, articles=[a.removesuffix("The end.") for a in ARTICLES])


# --- splitting ---------------------------------------------------------------------------------------------


def test_the_sentencizer_splits_where_sentences_end(sentencizer):
    assert sentencizer("One sentence. Is this another? Yes! It costs 3.5 units.") == [
        "One sentence.",
        "Is this another?",
        "Yes!",
        "It costs 3.5 units.",
    ]
    assert sentencizer("  no full stop  ") == ["no full stop"]


@pytest.mark.parametrize(
    "sentences",
    [
        ['He left.', '"Then she came," said he.'],
        ["It works.", "(It does.)", "[Sic!]", "“Really?”"],
        ["He said “no.”", "She left."],
        ['They said "go."', '("Or stay.")'],
        ["Wait (please).", "¿Qué?"],
    ],
    ids=str,
)  # fmt: skip
def test_an_opening_bracket_or_quote_begins_its_sentence(sentencizer, sentences):
    assert sentencizer(" ".join(sentences)) == sentences


def test_no_sentence_crosses_a_line_break(sentencizer):
    article = "A heading\nA sentence that\ngoes on. Another.\n\n  \nLast"
    assert list(corpora.article_sentences(article, sentencizer)) == [
        "A heading",
        "A sentence that",
        "goes on.",
        "Another.",
        "Last",
    ]


def test_unwrapping_joins_lines_and_keeps_paragraphs():
    assert corpora.unwrap("First\nparagraph,\n  indented.\n\n\nSecond.\n") == "First paragraph, indented.\nSecond."
    assert corpora.unwrap("\n \n") == ""


def test_auto_falls_back_to_the_sentencizer_and_the_records_say_which():
    import spacy

    installed = spacy.util.is_package("en_core_web_sm")
    _, name = corpora.make_splitter("auto")
    assert name.startswith("en_core_web_sm " if installed else "sentencizer ")
    if not installed:
        with pytest.raises(InputError, match=r"python -m spacy download en_core_web_sm, or set splitter"):
            corpora.make_splitter("en_core_web_sm")


# --- docstrings --------------------------------------------------------------------------------------------


# --- the user's own file -----------------------------------------------------------------------------------


def read(path: Path, unit="sentences", **more) -> list[str]:
    return list(corpora.read_articles(FileCorpus(source="file", path=str(path), unit=unit, **more), 0))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_parquet(path: Path, columns: dict, **more) -> Path:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **more)
    return path


def sentences_of(path: Path, split=by_full_stop, **more) -> list[str]:
    """What the study would have to choose from."""
    corpus = FileCorpus(source="file", path=str(path), **more)
    splitter = corpora.whole_text if corpus.unit == "sentences" else split
    return [s for article in corpora.read_articles(corpus, 0) for s in corpora.article_sentences(article, splitter)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["no BOM", "BOM"])
def test_line_ends_byte_order_marks_and_blank_lines_do_not_show_in_the_sentences(tmp_path, end, mark):
    lines = ["One. Still one.", "", "  Twö.  ", "   ", "Three.", ""]
    path = write(tmp_path / "x.txt", mark + end.join(lines))
    assert sentences_of(path, unit="sentences") == ["One. Still one.", "Twö.", "Three."]
    assert sentences_of(path, unit="articles") == ["One.", "Still one.", "Twö.", "Three."]
    assert read(path, unit="articles") == ["One. Still one.", "  Twö.  ", "Three."]


def test_blank_lines_part_the_articles_of_a_text(tmp_path):
    path = write(tmp_path / "x.txt", "\n\nFirst paragraph.\nSecond paragraph.\n\n\nAnother article.")
    assert read(path, unit="articles") == ["First paragraph.\nSecond paragraph.", "Another article."]


def test_one_sentence_a_line_is_not_split(tmp_path):
    corpus = FileCorpus(source="file", path=str(tmp_path / "x.txt"), unit="sentences")
    split, name = corpora.choose_splitter(corpus)
    assert name == "one sentence a line"
    assert split(" Dr. Who? Yes. ") == ["Dr. Who? Yes."]


def test_a_line_or_row_is_one_sentence_whatever_breaks_are_in_it(tmp_path):
    odd = ["one\u2028still one", "two\x85still two", "three\x0cstill three"]
    assert sentences_of(write(tmp_path / "x.txt", "\n".join(odd)), unit="sentences") == odd
    rows = [*odd, "four\nstill four\r\nand on"]
    path = write(tmp_path / "x.jsonl", "\n".join(json.dumps({"text": row}) for row in rows))
    assert sentences_of(path, unit="sentences") == rows
    assert len(sentences_of(path, unit="articles", split=lambda paragraph: [paragraph])) == 9


def test_the_suffix_may_be_in_capitals(tmp_path):
    assert sentences_of(write(tmp_path / "X.TXT", "One.\n"), unit="sentences") == ["One."]


TEXTS = ["One. Two.\nThree.", "Vier – ö.", "\u2028 odd."]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_are_articles(tmp_path, suffix):
    rows = [{"id": str(number), "text": text, "body": f"body {number}"} for number, text in enumerate(TEXTS)]
    path = tmp_path / f"x{suffix}"
    if suffix == ".jsonl":
        write(path, "\ufeff" + "\r\n\r\n".join(json.dumps(row) for row in rows) + "\n")
    else:
        write_parquet(path, {key: [row[key] for row in rows] for key in rows[0]}, row_group_size=2)
    assert read(path, unit="articles") == TEXTS
    assert read(path, unit="articles", text_field="body") == ["body 0", "body 1", "body 2"]
    assert sentences_of(path, unit="articles") == ["One.", "Two.", "Three.", "Vier – ö.", "odd."]


def test_every_problem_of_a_file_is_an_input_error_with_its_path_and_the_mend(tmp_path):
    write(tmp_path / "latin.txt", "é\n".encode("latin-1"))
    write(tmp_path / "utf16.txt", "Text.".encode("utf-16"))
    for coding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        write(tmp_path / f"{coding}.txt", "Text without a byte-order mark.\n".encode(coding))
    write(tmp_path / "utf-16.jsonl", '{"text": "a"}\n'.encode("utf-16-le"))
    write(tmp_path / "null.jsonl", '{"text": null}\n')
    write(tmp_path / "keys.jsonl", json.dumps({"\x1b[2J\n": 1, "k" * 100_000: 2, **{str(n): n for n in range(50)}}))
    os.mkfifo(tmp_path / "pipe.txt")
    write(tmp_path / "latin.jsonl", '{"text": "é"}\n'.encode("latin-1"))
    write(tmp_path / "x.csv", "text\na\n")
    write(tmp_path / "none", "a\n")
    write(tmp_path / "broken.jsonl", '{"text": "a"}\n{"text": \n')
    write(tmp_path / "list.jsonl", '["a"]\n')
    write(tmp_path / "number.jsonl", '{"text": 3}\n')
    write(tmp_path / "field.jsonl", '{"text": "a"}\n{"body": "a", "title": "b"}\n')
    write(tmp_path / "broken.parquet", b"PAR1 and then nothing of the kind")
    write(tmp_path / "empty.parquet", b"")
    write_parquet(tmp_path / "field.parquet", {"body": ["a"], "title": ["b"]})
    write_parquet(tmp_path / "null.parquet", {"text": ["a", None]})
    write_parquet(tmp_path / "number.parquet", {"text": [1, 2]})
    (tmp_path / "folder.txt").mkdir()
    expected = {
        "latin.txt": "UTF-8",
        "utf16.txt": "iconv -f utf-16le",
        "utf-16-le.txt": "looks like UTF-16 or UTF-32; save it as UTF-8",
        "utf-16-be.txt": "looks like UTF-16 or UTF-32",
        "utf-32-le.txt": "looks like UTF-16 or UTF-32",
        "utf-32-be.txt": "looks like UTF-16 or UTF-32",
        "utf-16.jsonl": "looks like UTF-16 or UTF-32",
        "null.jsonl": "'text' is null, not text; leave the row out",
        "keys.jsonl": " and 44 more: set text_field",
        "pipe.txt": "is a pipe or a device, and no file; give the path",
        "latin.jsonl": "iconv",
        "x.csv": ".txt, .jsonl, .parquet",
        "none": ".txt, .jsonl, .parquet",
        "missing.txt": "give the path",
        "folder.txt": "is a folder, and no file; give the path",
        "broken.jsonl": "line 2",
        "list.jsonl": "line 1 is a list, not a mapping with 'text'",
        "number.jsonl": "text_field",
        "field.jsonl": "body, title: set text_field",
        "broken.parquet": "Parquet",
        "empty.parquet": "Parquet",
        "field.parquet": "its columns are body, title: set text_field",
        "null.parquet": "text_field",
        "number.parquet": "text_field",
    }
    for name, mend in expected.items():
        with pytest.raises(InputError) as caught:
            read(tmp_path / name, unit="articles")
        assert str(tmp_path / name) in str(caught.value), name
        assert mend in str(caught.value), (name, str(caught.value))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600


BOMBS = {
    "one text of 20 MB": ["a" * 20_000_000],
    "one text of 1 MB, 40 times": ["a" * 1_000_000] * 40,
    "3,000,000 rows of one letter": ["a"] * 3_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_parquet_file_that_unpacks_to_far_more_than_it_holds_is_refused(tmp_path, name):
    path = write_parquet(tmp_path / "x.parquet", {"text": BOMBS[name]}, compression="zstd")
    given: list[int] = []
    texts = corpora.read_articles(FileCorpus(source="file", path=str(path), unit="sentences"), 0)
    with pytest.raises(InputError, match=r"x\.parquet unpacks to more than 256 times its size"):
        given.extend(map(len, texts))
    assert sum(given) <= 2**24 + 256 * path.stat().st_size


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_text_in_an_encoding_that_is_not_read_is_told_from_other_columns_in_it(tmp_path, encoding):
    path, texts = tmp_path / "x.parquet", {"text": ["One sentence.", "Two."], "other": ["a", "b"]}
    read = FileCorpus(source="file", path=str(path), unit="sentences")
    write_parquet(path, texts, use_dictionary=False, column_encoding={"other": encoding})
    assert list(corpora.read_articles(read, 0)) == texts["text"]
    write_parquet(path, texts, use_dictionary=False, column_encoding={"text": encoding})
    with pytest.raises(InputError, match=r"can be read \(.*Delta.*\); save it anew with the encoding PLAIN, or as"):
        list(corpora.read_articles(read, 0))


def test_a_parquet_file_of_similar_rows_is_read(tmp_path):
    """The positive control: 5 MB in 50 kB, two texts of them again and again."""
    texts = [f"The number of this sentence, among others like it, is {number}." for number in range(50_000)]
    texts += ["Again and again."] * 50_000
    path = write_parquet(tmp_path / "x.parquet", {"text": texts}, compression="zstd")
    assert path.stat().st_size < 200_000
    assert read(path, unit="sentences") == texts


@pytest.mark.parametrize("path", ["x" * 300 + ".txt", "a\0b.txt"], ids=["too long", "NUL"])
def test_a_path_that_no_file_can_have_is_refused(path):
    with pytest.raises(InputError, match=r"cannot be read .*; give the path") as caught:
        read(Path(path), unit="articles")
    assert len(str(caught.value)) < 300


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    write(tmp_path / "x.txt", "One.\n").chmod(0)
    with pytest.raises(InputError, match=r"x\.txt cannot be read \(Permission denied\); give the path"):
        read(tmp_path / "x.txt", unit="articles")


@pytest.mark.parametrize("content", ["", "\n\n  \n", "Only one.\n"], ids=["empty", "blank", "one line"])
def test_a_file_with_too_few_sentences_is_named(tmp_path, content):
    path = write(tmp_path / "x.txt", content)
    corpus = FileCorpus(source="file", path=str(path), unit="sentences")
    with pytest.raises(InputError, match=r"distinct usable sentences .*; lower either") as caught:
        corpora.draw(corpus, corpora.read_articles(corpus, 0), corpora.whole_text, 1, 2, 0)
    assert str(path) in str(caught.value)


# --- wikipedia ---------------------------------------------------------------------------------------------

PAGES = 240


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """A folder with the layout and the columns of wikimedia/wikipedia, in twelve row groups of two files."""
    folder = tmp_path_factory.mktemp("dump")
    half = PAGES // 2
    for number in range(2):
        pages = range(number * half, (number + 1) * half)
        columns = {
            "id": [str(page) for page in pages],
            "url": [f"https://en.wikipedia.org/wiki/{page}" for page in pages],
            "title": [f"Title {page}" for page in pages],
            "text": [
                f"Opening of {page}. Middle of {page}.\n\nSecond paragraph of {page}. End of {page}." for page in pages
            ],
        }
        write_parquet(folder / f"train-0000{number}-of-00002.parquet", columns, row_group_size=20)
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The datasets library, writing here, and without the five seconds it waits at the end of each Parquet stream."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)


def wikipedia(folder: Path, **more) -> WikipediaCorpus:
    return WikipediaCorpus(source="wikipedia", dataset=str(folder), config=None, revision=None, **more)


def pages_of(texts: list[str]) -> list[int]:
    return [int(re.search(r"\d+", text)[0]) for text in texts]


@pytest.mark.usefixtures("hub")
def test_the_order_of_articles_depends_on_the_seed_and_only_on_it(dump):
    orders = [pages_of(list(corpora.read_articles(wikipedia(dump), seed))) for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    for order in orders:
        assert sorted(order) == list(range(PAGES))  # every article once
        assert order != sorted(order)
        # Neighbours in the dump are spread: the mean distance of two random pages is PAGES / 3.
        steps = [abs(a - b) for a, b in itertools.pairwise(order)]
        assert 0.2 * PAGES < sum(steps) / len(steps) < 0.5 * PAGES


@pytest.mark.usefixtures("hub")
def test_every_article_is_equally_likely_to_come_first(dump):
    """Of 60 seeds, the first page lies in each third of the dump 20 times, give or take 3.7."""
    firsts = [pages_of([next(iter(corpora.read_articles(wikipedia(dump), seed)))])[0] for seed in range(60)]
    thirds = Counter(first * 3 // PAGES for first in firsts)
    assert all(8 <= thirds[third] <= 32 for third in range(3)), thirds
    assert len(set(firsts)) > 35  # of 60 draws from 240, 53 are expected to be distinct
    within = Counter(first % 20 // 5 for first in firsts)  # and its place in its row group is no more fixed
    assert all(4 <= within[quarter] <= 26 for quarter in range(4)), within


@pytest.mark.usefixtures("hub")
def test_one_sentence_an_article_of_a_dump(dump, sentencizer):
    corpus = wikipedia(dump, sentences_per_article=1)
    drawn = corpora.draw(corpus, corpora.read_articles(corpus, 3), sentencizer, 40, 10, 3)
    pages = pages_of(drawn.train + drawn.validation)
    assert len(set(pages)) == len(pages) == drawn.articles == 50
    kinds = Counter(sentence.split()[0] for sentence in drawn.train + drawn.validation)
    assert set(kinds) == {"Opening", "Middle", "Second", "End"}
    again = corpora.draw(corpus, corpora.read_articles(corpus, 3), sentencizer, 40, 10, 3)
    assert again == drawn


@pytest.mark.usefixtures("hub")
def test_paragraph_final_sentences_of_a_dump(dump):
    corpus = wikipedia(dump, sentences_per_article=1, paragraph_final=True)
    drawn = corpora.draw(corpus, corpora.read_articles(corpus, 0), by_full_stop, 40, 10, 0)
    kinds = Counter(sentence.split()[0] for sentence in drawn.train + drawn.validation)
    assert set(kinds) == {"Middle", "End"}
    assert min(kinds.values()) > 10


@pytest.mark.usefixtures("hub")
def test_a_dump_with_too_few_articles_is_an_input_error(dump):
    corpus = wikipedia(dump, sentences_per_article=1)
    with pytest.raises(InputError, match=r"240 distinct usable sentences in 240 articles, and 240 to train and 2 for"):
        corpora.draw(corpus, corpora.read_articles(corpus, 0), by_full_stop, 240, 2, 0)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("kind", ["missing", "no text", "broken"])
def test_a_dump_that_cannot_be_read_is_named_with_the_way_round(tmp_path, kind):
    folder = tmp_path / "dump"
    if kind == "no text":
        write_parquet(folder / "train.parquet", {"id": ["1"], "body": ["a"]})
    elif kind == "broken":
        folder.mkdir()
        write(folder / "train.parquet", b"PAR1 and then nothing of the kind")
    with pytest.raises(InputError) as caught:
        list(corpora.read_articles(wikipedia(folder), 0))
    assert str(folder) in str(caught.value)
    assert ("columns are id, body" if kind == "no text" else "`file` entry") in str(caught.value)


# --- real text ---------------------------------------------------------------------------------------------


def test_real_articles_give_one_sentence_each(shared_data, sentencizer):
    path = shared_data / "wikipedia" / "articles.jsonl"
    common = {"source": "file", "path": str(path), "unit": "articles", "min_characters": 30}
    corpus = FileCorpus(**common, sentences_per_article=1)
    drawn = corpora.draw(corpus, corpora.read_articles(corpus, 0), sentencizer, 8, 4, 0)
    assert drawn.articles == drawn.candidates == 102
    articles = list(corpora.read_articles(corpus, 0))
    for sentence in drawn.train + drawn.validation:
        assert sum(sentence in article for article in articles) >= 1
        assert len(sentence) >= 30


def test_real_sentences_are_enough_for_the_study(shared_data):
    path = shared_data / "wikipedia" / "sentences.txt"
    corpus = FileCorpus(source="file", path=str(path), unit="sentences")
    split, _ = corpora.choose_splitter(corpus)
    drawn = corpora.draw(corpus, corpora.read_articles(corpus, 0), split, 9000, 3000, 0)
    lines = set(path.read_text(encoding="utf-8").splitlines())
    assert drawn.candidates == len(lines) > 18_000
    assert {*drawn.train, *drawn.validation} <= lines


def test_articles_of_a_file_are_drawn_from_all_of_it_not_from_its_head():
    corpus = FileCorpus(source="file", path="unused.txt", unit="articles", sentences_per_article=1)
    articles = [f"Sentence of article {number}." for number in range(1000)]
    drawn = corpora.draw(corpus, articles, corpora.whole_text, 80, 20, seed=0)
    numbers = [int(sentence.rstrip(".").split()[-1]) for sentence in drawn.train + drawn.validation]
    assert drawn.articles == 1000
    assert 400 < sum(numbers) / len(numbers) < 600


def test_a_parquet_file_with_a_wrong_byte_is_read_or_refused_in_one_line(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "text.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one sentence", "another one"] * 20}), path)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 2):
        changed = bytearray(whole)
        changed[place] ^= 1 << place // 2 % 8
        path.write_bytes(changed)
        try:
            list(corpora.read_articles(FileCorpus(source="file", path=str(path), unit="articles"), 0))
        except InputError as error:
            assert "text.parquet" in str(error)  # noqa: PT017 - most are read
            refused += 1
    assert refused > 50


def test_a_row_nested_too_deep_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.jsonl").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"text\.jsonl, line 1: not a JSON object"):
        list(corpora.read_articles(FileCorpus(source="file", path=str(tmp_path / "text.jsonl"), unit="articles"), 0))
