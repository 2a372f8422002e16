"""`linear-shortcuts compare`: a table, a figure, and one line where it cannot."""

import sys

import invented
import pytest
import torch

from linear_shortcuts import __main__
from linear_shortcuts.scores import records


def narrow(value):
    """Numbers as the pipeline records them."""
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@pytest.fixture
def run(tmp_path, results, monkeypatch, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fixed = [{key: narrow(value) for key, value in record.items()} for record in results[0]]
        card = dict.fromkeys(("states", "layer_maps", "submodule_maps"), "0" * 64)
        positions = torch.zeros(invented.SAMPLES, dtype=torch.int64)
        card = {**card, "made_from": invented.CARD}
        records.save_fixed(tmp_path / name / "fixed_exits.pickle", fixed, positions, invented.COST, card)
    monkeypatch.chdir(tmp_path)

    def ran(*arguments):
        monkeypatch.setattr(sys, "argv", ["linear-shortcuts", "compare", *arguments])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        return ended.value.code, *capsys.readouterr()

    return ran


def test_a_run_beside_itself_has_no_difference_and_a_figure(run, tmp_path):
    code, out, _ = run("a", "b/fixed_exits.pickle", "--mappings", "id,mat", "--figure", "out.svg")
    assert code == 0
    assert "the same sentences, so differences are paired" in out
    rows = [line for line in out.splitlines() if line.startswith(("| id", "| mat"))]
    assert len(rows) == 2 * invented.LAYERS
    assert all(row.endswith("| 0.000 | 0.000 | 0.000 |") for row in rows)
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "nothing"], "nothing"),
        (["a", "b", "--figure", "x.png"], "--figure is x.png; give a name that ends in .svg or .pdf"),
        (["a", "b", "--mappings", "id,new"], "--mappings names new; both runs have"),
    ],
)
def test_what_cannot_be_compared_ends_with_2_and_one_line(run, arguments, said):
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err.splitlines()[-1]
