"""A figure given as data is drawn, with plots of the package and of one's own."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ppl_vae import plots
from ppl_vae.diagnostics import Figure, Panel
from ppl_vae.plots import draw

K = Panel("pareto_k", ([0.1, 0.5],), {"num_samples": 100}, "reliable")


@pytest.fixture(autouse=True)
def _no_figure_left():
    yield
    plt.close("all")


def own(values, *, ax=None):
    ax = plt.subplots()[1] if ax is None else ax
    ax.plot(values)
    return ax


def test_one_panel_has_the_size_of_its_plot():
    ax = draw(Figure("k", [[K]]))
    assert ax.get_title() == "reliable"
    assert len(ax.figure.axes) == 1


def test_panels_lie_row_by_row_and_may_be_of_ones_own():
    mine = Panel(own, (np.arange(3.0),), title="mine")
    ax = draw(Figure("both", [[mine, K, mine]], (3, 2)))
    assert ax.figure.get_size_inches().tolist() == [9, 2]
    assert [a.get_title() for a in ax.figure.axes] == ["mine", "reliable", "mine"]
    assert ax.lines[0].get_ydata().tolist() == [0, 1, 2]


def test_a_name_with_two_dollars_is_shown_as_it_is():
    for name in ("price_$_low_$", "revenue ($) / cost ($)"):  # the first is no mathematics, the second would be
        ax = draw(Figure("check", [[Panel("predictive_check", (3.0, np.arange(9.0)), {"label": name})]]))
        ax.figure.canvas.draw()
        assert ax.xaxis.label.get_text() == name
        assert not ax.xaxis.label.get_parse_math()
        plt.close(ax.figure)
    ax = draw(Figure("k", [[K]]))
    assert ax.yaxis.label.get_parse_math()  # of ours
    own = plots.predictive_check(3.0, np.arange(9.0), label="$x_1$", ax=plt.subplots()[1])
    assert own.xaxis.label.get_parse_math()
    plt.close("all")


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (Figure("a", [[K, K]]), "draw expects a size for a figure of several panels, got 2 panels in 'a'"),
        (Figure("a", [[Panel("nonsense", ())]]), "a panel expects the name of a function of ppl_vae.plots, got 'non"),
        (Figure("a", [[K], [K, K]], (3, 2)), "as many panels in each row, got 1, 2 in 'a'"),
        (Figure("a", []), "one panel or more, got none in 'a'"),
    ],
    ids=["no size", "unknown", "ragged", "empty"],
)
def test_refuses(figure, message):
    with pytest.raises(ValueError, match=message):
        draw(figure)
    assert plt.get_fignums() == []
