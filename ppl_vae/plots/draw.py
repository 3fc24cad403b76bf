"""Figures of diagnostics, drawn."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ppl_vae import plots
from ppl_vae.plots.canvas import as_written, plot

__all__ = ["draw"]


class PanelData(Protocol):
    """One Axes, as data, see `diagnostics.Panel`."""

    @property
    def plot(self) -> str | Callable[..., Any]: ...
    @property
    def args(self) -> Sequence[Any]: ...
    @property
    def kwargs(self) -> Mapping[str, Any]: ...
    @property
    def title(self) -> str: ...


class FigureData(Protocol):
    """A figure, as data, see `diagnostics.Figure`."""

    @property
    def name(self) -> str: ...
    @property
    def rows(self) -> Sequence[Sequence[PanelData]]: ...
    @property
    def size(self) -> tuple[float, float] | None: ...


@plot
def draw(figure: FigureData) -> Axes:
    """Draw a figure of a diagnosis, given as data; returns its first Axes.

    Parameters
    ----------
    figure
        A `diagnostics.Figure`: one of `Diagnosis.figures`, or of your own.

    Raises
    ------
    ValueError
        For a panel that names no function of `ppl_vae.plots`, for several panels without a size, for rows of different
        lengths, and for no panel.

    Examples
    --------
    >>> from ppl_vae.diagnostics import Figure, Panel
    >>> figure = Figure("k_hat", [[Panel("pareto_k", ([0.1, 0.5],), title="good")]])
    >>> draw(figure).get_title()
    'good'
    """
    panels, lengths = [panel for row in figure.rows for panel in row], [len(row) for row in figure.rows]
    if not panels:
        raise ValueError(f"draw expects one panel or more, got none in {figure.name!r}; give Figure(name, [[panel]])")
    if len(set(lengths)) > 1:
        raise ValueError(
            f"draw expects as many panels in each row, got {', '.join(map(str, lengths))} in {figure.name!r}; give "
            "rows of the same length"
        )
    if figure.size is None:
        if len(panels) != 1:
            raise ValueError(
                f"draw expects a size for a figure of several panels, got {len(panels)} panels in {figure.name!r} "
                "without one; give Figure(name, rows, (width, height)) in inches a panel"
            )
        first: Axes = _panel(panels[0])
        as_written(first.figure)
        return first
    (width, height), shape = figure.size, (len(lengths), lengths[0])
    size = (width * shape[1], height * shape[0])
    _, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
    for panel, ax in zip(panels, axes.flat, strict=True):
        _panel(panel, ax)
    first = axes[0, 0]
    as_written(first.figure)
    return first


def _panel(panel: PanelData, ax: Axes | None = None) -> Axes:
    f = vars(plots).get(panel.plot) if isinstance(panel.plot, str) else panel.plot
    if not callable(f):
        raise ValueError(
            f"a panel expects the name of a function of ppl_vae.plots, got {panel.plot!r}; give another, or a function "
            "of your own"
        )
    drawn: Axes = f(*panel.args, **panel.kwargs, **({} if ax is None else {"ax": ax}))
    if panel.title:
        drawn.set_title(panel.title)
    return drawn
