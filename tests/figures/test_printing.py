"""Figures on paper: text stays text, ticks follow the study."""

from invented import LAYERS

from linear_shortcuts.figures import plots, printing


def test_ticks_follow_the_study():
    assert [printing.tick_step(layers) for layers in (6, 12, 24, 36, 48)] == [1, 2, 3, 4, 6]


def test_text_is_text_and_a_figure_says_what_it_shows(results, tmp_path):
    _, _, r2, exits, early_exit = results
    figures = plots.draw_all(r2, exits, early_exit, 0.95, "model on corpus")
    titles = [figure.get_suptitle() or figure.axes[0].get_title() for figure in figures.values()]
    assert len(set(titles)) == len(titles)
    printing.save(figures[f"parts_pre1_{LAYERS}"], {"svg": tmp_path}, "parts")
    drawn = (tmp_path / "parts.svg").read_text()
    for words in ("Precision@1, parts replaced by matrices", "exit layer", "mat_ln1_ln2: norms"):
        assert words in drawn
