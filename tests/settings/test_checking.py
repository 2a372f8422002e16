"""A settings file is read as it is meant, or refused in one line with its name."""

from pathlib import Path

import pytest

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.settings.params import read_params

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
BAD_FILES = {
    "empty": b"",
    "only a comment": b"# nothing\n",
    "list": b"- a\n- b\n",
    "text": b"hello\n",
    "number keys": b"1: 2\n",
    "tab": b"sentences:\n\ttrain: 9000\n",
    "not UTF-8": TEXT.replace("# every", "# \xe9very").encode("latin-1"),
    "UTF-16": TEXT.encode("utf-16"),
    "zero bytes": b"\0\0\0",
    "unclosed": b"models: [a\n",
    "two documents": TEXT.encode() + b"\n---\na: 1\n",
    "a call": b"seed: !!python/object/apply:os.getcwd []\n",
    "impossible date": TEXT.replace("seed: 0", "seed: 2024-13-45", 1).encode(),
    "impossible number": TEXT.replace("seed: 0", "seed: !!int abc", 1).encode(),
    "5,000 digits": TEXT.replace("seed: 0", f"seed: {'9' * 5000}", 1).encode(),
    "5,000 hexadecimal digits": TEXT.replace("seed: 0", f"seed: 0x{'f' * 5000}", 1).encode(),
    "deep": b"models: " + b"[" * 2000 + b"]" * 2000,
    "contains itself": TEXT.replace("seed: 0", "seed: &a [*a]", 1).encode(),
    "20,000 brackets": b"models: " + b"[\n" * 20_000,
    "20,000 dashes": b"- " * 20_000,
    "aliases of aliases": b"a0: &a0 [x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 100)),
    "merges of merges": b"a0: &a0 {x: 1}\n"
    + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (i, i, i - 1, i - 1) for i in range(1, 30)),
    "merges itself": b"registry: &a {<<: *a}",
    "larger than settings are": b"#" * 300_000,
    "key twice": TEXT.encode() + b"\nseed: 1\n",
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_not_settings_is_refused_in_one_line_with_its_name(tmp_path, kind):
    path = tmp_path / "bad.yaml"
    path.write_bytes(BAD_FILES[kind])
    with pytest.raises(InputError) as caught:
        read_params(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 600


def test_aliases_and_merges_within_reason_are_read(tmp_path):
    entries = """
  tiny: &tiny {path: models/tiny-gpt2, revision: null}
  half: &half {path: mine, revision: null, dtype: float16}
  again: *tiny
  both: {<<: [*tiny, *half]}
"""
    text = TEXT.replace("\n  tiny-bert: {path", f"{entries}  tiny-bert: {{path", 1)
    (tmp_path / "params.yaml").write_text(text)
    registry = read_params(tmp_path / "params.yaml").registry
    assert registry["again"] == registry["tiny-gpt2"]
    assert (registry["both"].path, registry["both"].dtype) == ("models/tiny-gpt2", "float16")


def test_a_missing_file_is_named_with_the_mend(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml does not exist; run from the folder that holds it"):
        read_params(tmp_path / "nowhere.yaml")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        read_params(tmp_path)
