"""The page of a reading: the same numbers, opened by a browser that has no way out."""

import html
import re
import shutil
import subprocess
from importlib import resources

import numpy as np
import pytest
import torch
import vision

from linear_shortcuts.peek import Reading, page, read
from linear_shortcuts.peek.reading import TOP, Cells

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CELL = re.compile(r"(\w+), layer (\d+), after (\S+): (\S+), ([\d.]+) %(, the final answer)?")


@pytest.fixture
def found(small):
    return read(small.model, small.tokenizer, small.text, small.lenses, masked=small.masked)


def test_a_page_names_no_address_and_forbids_itself_to_load_anything(found):
    text = found.to_html()
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert "{{" not in text


def test_what_a_text_says_is_shown_and_never_run(found):
    text = page.render({**found.as_dict(), "text": "</script><script>alert(1)</script>"})
    assert "<script>alert" not in text
    assert "\\u003c/script>" in text


def test_a_notebook_shows_the_page_in_a_frame(found):
    shown = found._repr_html_()
    assert found.to_html() in html.unescape(shown)
    assert shown.startswith("<iframe")


def test_the_page_of_a_long_sentence_in_a_deep_model_stays_below_a_megabyte_and_a_half():
    """Two lenses, 31 layers, 100 tokens of a vocabulary of 49,152, of which SmolLM2-135M's own page takes 0.86 MB.

    Every number is as long as it gets, and more words come first somewhere than the 6 a column that it has there.
    """
    generator, layers, tokens, first = torch.Generator().manual_seed(0), 31, 100, 8

    def drawn(*shape):
        return torch.randint(10_000, 14_000, shape, generator=generator)

    def cells():
        ids, ranks = drawn(layers, tokens, TOP), [drawn(first, layers) for _ in range(tokens)]
        own = tuple(dict(zip(drawn(first).tolist(), rows, strict=True)) for rows in ranks)
        return Cells(ids, torch.full(ids.shape, 0.1234), own, ())

    words = {token: f"·word{token}" for token in range(10_000, 14_000)}
    ids = tuple(drawn(tokens).tolist())
    found = Reading("m", "t", tuple(range(layers)), ids, ids, {"id": cells(), "mat": cells()}, words, words)
    assert 0.86e6 < len(found.to_html().encode()) < 1.5e6


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_every_cell_can_be_read_and_lines_are_told_apart(theme):
    text = resources.files("linear_shortcuts.peek").joinpath("page.html").read_text(encoding="utf-8")
    rules = [dict(re.findall(r"--(\w+): ([#.\w]+);", rule)) for rule in re.findall(r":root \{([^}]*)\}", text)]
    own = {**rules[0], **rules[theme]}
    for share in np.linspace(0, 1, 201):
        ground = vision.mixed(own["shade"], own["paper"], share)
        assert vision.contrast(ground, own["high"] if share > float(own["flip"]) else own["low"]) > 4.4
    for name in ("shade", "mark"):
        assert vision.contrast(own[name], own["paper"]) > 4.5
    assert min(vision.distance(own["shade"], own["mark"], sight) for sight in vision.VISIONS) > 40


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_draws_the_numbers_of_the_json_and_prints_every_cell(found, tmp_path):
    printing = "<script>dispatchEvent(new Event('beforeprint'))</script></body>"
    (tmp_path / "page.html").write_text(found.to_html().replace("</body>", printing), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={tmp_path}/own"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", (tmp_path / "page.html").as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    labels, printed = (re.findall(r'aria-label="(mat, [^"]*)"', part) for part in drawn.split('<div id="paper">'))
    assert sorted(printed) == sorted(labels)
    cells = [CELL.fullmatch(html.unescape(label)).groups() for label in labels]
    data = found.as_dict()
    own = data["lenses"]["mat"]
    word = {int(token): text for token, text in data["words"].items()}
    assert len(cells) == len(data["layers"]) * len(data["ids"])
    for number, (name, layer, after, shown, percent, answer) in enumerate(cells):
        row, column = divmod(number, len(data["ids"]))
        token = own["ids"][row][column][0]
        assert (name, int(layer)) == ("mat", data["layers"][row])
        assert (after, shown) == (word[data["ids"][column]], word[token])
        assert float(percent) == pytest.approx(100 * own["probabilities"][row][column][0], abs=0.051)
        assert (answer is not None) == (token == data["answers"][column])
