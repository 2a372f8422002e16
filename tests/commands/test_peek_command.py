"""`linear-shortcuts peek`: a table, JSON, a page, and one line where no lens was fitted."""

import json
import sys

import pytest
import tiny
from fitted import publish

from linear_shortcuts import __main__, load_model
from linear_shortcuts.states.extraction import extract


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model called `own`, its maps of one corpus below linreg/."""
    place = tmp_path_factory.mktemp("peek")
    tiny.architecture("llama").network.save_pretrained(place / "own")
    tiny.save_tokenizer(place / "own")
    model = load_model(place / "own", device="cpu")
    shard = extract(model, tiny.tokens(model, 100), 0, 100, 500)
    publish(model, shard, place / "linreg" / "own" / "text", 100)
    return place


@pytest.fixture
def run(checkpoint, monkeypatch, capsys):
    monkeypatch.chdir(checkpoint)
    monkeypatch.setenv("COLUMNS", "100")

    def ran(*arguments):
        monkeypatch.setattr(sys, "argv", ["linear-shortcuts", "peek", "own", *map(str, arguments), "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        return ended.value.code, *capsys.readouterr()

    return ran


def test_the_fitted_lens_is_found_and_shown(run):
    code, out, _ = run("w5 w6 w7")
    assert code == 0
    assert "mat (fitted on corpus): first tokens" in out
    data = json.loads(run("w5 w6 w7", "--json", "--lens", "id,mat")[1])
    assert set(data["lenses"]) == {"id", "mat"}
    assert data["fitted_on"] == {"mat": "corpus"}
    for token in data["lenses"]["mat"]["ids"][0]:
        assert data["words"][str(token[0])] in out


def test_other_views_are_printed_too(run):
    assert "the rank of w9 at each layer" in run("w5 w6", "--token", "w9")[1]
    assert "mat (fitted on corpus): after w6" in run("w5 w6", "--position", -1, "--top", 3)[1]
    assert (
        "mat (fitted on corpus) − id: probability of the final answer"
        in run("w5 w6", "--lens", "id,mat", "--difference")[1]
    )
    assert "mat_attn (fitted on corpus): first tokens" in run("w5 w6", "--parts")[1]


def test_a_page_is_written_with_the_numbers_of_the_json(run, checkpoint):
    code, out, _ = run("w5 w6", "--html", "page.html")
    assert code == 0
    assert out == "own: 4 layers at 2 tokens, in page.html\n"
    page = (checkpoint / "page.html").read_text(encoding="utf-8")
    held = page.partition('type="application/json">')[2].partition("</script>")[0]
    assert json.loads(held) == json.loads(run("w5 w6", "--json")[1])


def test_one_lens_is_printed_as_logitlenskit_has_it(run):
    data = json.loads(run("w5 w6", "--logitlenskit", "--top", 2)[1])
    ours = json.loads(run("w5 w6", "--json")[1])
    assert data["input"] == ["w5", "w6"]
    assert [cell[0] for cell in data["topk"][-1]] == [ours["words"][str(token)] for token in ours["answers"]]
    assert {len(cell) for row in data["topk"] for cell in row} == {2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["w5", "--logitlenskit", "--lens", "id,mat"], "--logitlenskit prints one lens alone; name one, as --lens mat"),
        (["w5", "--logitlenskit", "--parts"], "--logitlenskit would show nothing of --parts; leave one of the two out"),
        (["w5", "--logitlenskit", "--position", 0], "--logitlenskit would show nothing of --position"),
        (["w5", "--logitlenskit", "--token", "w9"], "--logitlenskit would show nothing of --token"),
        (["w5", "--logitlenskit", "--json"], "--logitlenskit would show nothing of --json"),
        (["w5", "--json", "--position", 99], "--json would show nothing of --position"),
        (["w5", "--html", "x.html", "--difference", "--lens", "id,mat"], "--html would show nothing of --difference"),
        (["w5", "--position", 0, "--token", "w9"], "--position would show nothing of --token"),
        (["w5", "--difference", "--lens", "id,mat", "--parts"], "--difference would show nothing of --parts"),
        (["w5", "--top", 3], "--top is of --position and --logitlenskit; add one of them, or leave --top out"),
        (["w5", "--position", 0, "--top", 11], "--top is 11; give 1 to 10"),
        (["w5", "--difference"], "--difference is of two lenses, and --lens names 1"),
        (["w5 w6", "--position", 2], "--position is 2, and the text has tokens 0 to 1"),
        (["w5", "--lens", "nothing"], "--lens nothing is neither mat nor id, nor a folder of lenses"),
        (["w5", "--lens", "own"], "--lens own is neither mat nor id, nor a folder of lenses"),  # but of a model
    ],
)
def test_what_cannot_be_shown_ends_with_2_and_one_line(run, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_without_a_lens_the_command_that_fits_one_is_named(run, checkpoint):
    (checkpoint / "linreg").rename(checkpoint / "away")
    code, _, err = run("w5")
    (checkpoint / "away").rename(checkpoint / "linreg")
    assert code == 2
    assert "no lens was fitted for own yet; run linear-shortcuts fit own, or read with --lens id" in err
