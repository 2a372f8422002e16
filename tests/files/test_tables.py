"""Tables as files."""

import csv
import json

from linear_shortcuts.files.tables import save_plot, save_table, to_csv

RECORDS = [{"a": 1, "tokens": ["x, y", 'a "b"\n']}, {"a": None, "tokens": ["", "é"]}]


def test_lists_become_numbered_columns_and_odd_text_comes_back():
    back = list(csv.DictReader(to_csv(RECORDS).splitlines(keepends=True)))
    assert back == [{"a": "1", "tokens_1": "x, y", "tokens_2": 'a "b"\n'}, {"a": "", "tokens_1": "", "tokens_2": "é"}]


def test_what_a_record_lacks_is_empty_and_no_record_is_an_empty_table():
    assert to_csv([{"a": 1}, {"b": 0.5, "a": 2}]) == "a,b\n1,\n2,0.5\n"
    assert to_csv([]) == "\n"


def test_a_table_is_written_for_programs_and_for_readers(tmp_path):
    save_table(tmp_path / "deep", "one", RECORDS, markdown="| a |\n")
    save_table(tmp_path / "deep", "two", [{"a": 0}])
    names = sorted(path.name for path in (tmp_path / "deep").iterdir())
    assert names == ["one.csv", "one.json", "one.md", "two.csv", "two.json"]
    assert json.loads((tmp_path / "deep" / "one.json").read_text()) == RECORDS
    assert (tmp_path / "deep" / "one.md").read_text() == "| a |\n"


def test_a_plot_without_rows_is_a_folder_without_a_file(tmp_path):
    for rows, there in ((RECORDS, ["one.json"]), ([], [])):  # the second takes the place of the first
        save_plot(tmp_path, "one", rows)
        assert [path.name for path in (tmp_path / "one").iterdir()] == there
