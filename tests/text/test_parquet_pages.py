"""Sizes of pages: those that the file's own directory adds up to, and nobody is believed who states more."""

from pathlib import Path

import pytest
from pyarrow.parquet import ParquetFile

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import FileCorpus
from linear_shortcuts.text import corpora
from linear_shortcuts.text.parquet_pages import page_sizes

TEXTS = [f"The number of this sentence is {number}." for number in range(3000)]
HEADER = 200  # bytes of a page's header, at most


def varint(value: int) -> bytes:
    """A whole number as the pages' headers have it."""
    value *= 2  # zigzag
    digits = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([digit | 128 for digit in digits[:-1]] + digits[-1:])


@pytest.fixture
def write(tmp_path):
    import pyarrow
    import pyarrow.parquet

    def written(columns: dict, **options) -> Path:
        path = tmp_path / "x.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
        return path

    return written


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("use_dictionary", [False, True])
def test_the_pages_add_up_to_what_the_directory_says_of_all_columns(write, version, compression, use_dictionary):
    nested = [{"a": number, "b": [number]} for number in range(len(TEXTS))]
    path = write(
        {"nested": nested, "text": TEXTS, "text.b": TEXTS}, row_group_size=1000, data_page_version=version,
        compression=compression, use_dictionary=use_dictionary, data_page_size=4096,
    )  # fmt: skip
    directory = ParquetFile(path).metadata
    sizes = list(page_sizes(path))
    rest = sum(directory.row_group(group).total_byte_size for group in range(3)) - sum(sizes)
    assert len(sizes) >= 3 * 4 * (1 + use_dictionary)
    assert 10 * len(sizes) < rest < HEADER * len(sizes)  # the directory counts the headers, too


def test_a_page_that_states_gigabytes_is_refused_before_arrow_makes_room_for_it(write):
    """The directory still says that the file is small: the page's own header lies."""
    path = write({"text": ["a" * 4000]}, compression="zstd", use_dictionary=False, write_statistics=False)
    [stated] = page_sizes(path)
    content = path.read_bytes()
    place = content.index(varint(stated), 4)
    larger = varint(2**31 - 1)
    lie = content[:place] + larger + content[place + 2 :]
    # As many bytes are taken from the page's end, so that the directory's places stay true.
    path.write_bytes(lie[:40] + lie[40 + len(larger) - 2 :])
    assert max(page_sizes(path)) == 2**31 - 1
    with pytest.raises(InputError, match=r"x\.parquet unpacks to more than 256 times its size"):
        list(corpora.read_articles(FileCorpus(source="file", path=str(path), unit="sentences"), 0))
