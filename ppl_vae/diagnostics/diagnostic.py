"""One diagnostic: the question it answers, how it is run, and how its result is told and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from ppl_vae.arguments import checked
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split

__all__ = ["Diagnostic", "Figure", "Panel", "Results", "Subject", "one_panel"]

Results = Mapping[str, Any]
"""What the diagnostics returned, datasets or trees, by the name of the diagnostic."""


@checked
@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a diagnosis is of, as each diagnostic is given it.

    Attributes
    ----------
    program
        A module with `.model` and `.guide`.
    data
        All data.
    chosen
        The data of the full diagnosis, from the best to the worst fitted.
    tree
        Draws from q for the chosen data, as `to_arviz` makes it.
    check
        The dataset of `check_guide`, of all data.
    length
        How long HMC and AIS run.
    options
        `seed`, `max_rows` and `progress`, keyword arguments that all diagnostics of a program take.
    """

    program: Modelled
    data: Split
    chosen: Split
    tree: Any
    check: xr.Dataset
    length: int
    options: Mapping[str, Any]


@checked
@dataclass(frozen=True)
class Panel:
    """One pair of Axes, as data: what `ppl_vae.plots.<plot>(*args, **kwargs)` draws.

    Attributes
    ----------
    plot
        Name of a function of `ppl_vae.plots`.
    args, kwargs
        Its arguments: arrays, labels with units.
    title
        Of the Axes; empty for the plot's own.
    """

    plot: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""


@checked
@dataclass(frozen=True)
class Figure:
    """A figure, as data, since what computes lies below what draws.

    Attributes
    ----------
    name
        Of the file, without its ending.
    rows
        Panels, row by row, as many in each.
    size
        Of a panel in inches, width and height; `None` for the plot's own, where there is one panel.
    """

    name: str
    rows: Sequence[Sequence[Panel]]
    size: tuple[float, float] | None = None


def one_panel(name: str, plot: str, *args: Any, **kwargs: Any) -> Figure:
    """A figure of one plot."""
    return Figure(name, [[Panel(plot, args, kwargs)]])


@checked
@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One question about q(z | x), and all that a diagnosis, its report and its figures need to know of it.

    Attributes
    ----------
    name
        Of its result.
    question
        The heading of its section in the report; without one its result is told in the section of another.
    run
        Computes the result, a dataset or an ArviZ tree, of a subject and the results before it. What it raises is the
        reason why it is left out.
    verdict
        The section: the first sentence answers the question.
    figures
        What shows it.
    needs
        Diagnostics of which one at least must have a result.
    full
        Whether it takes seconds to minutes, and is run in a full diagnosis alone.
    fits
        Whether a subject is one that it is meant for; where not, it is not missed.
    looks_for
        What it could find against q that draws of q cannot show; empty where it could find nothing.
    against
        What it did find against q, part of a sentence; empty where nothing.
    answers, reading
        What answers the question, and how to read it, for the README's table.
    apart
        Whether its result is a tree of draws from p(z | x), which stays a tree of its own.
    """

    name: str
    question: str = ""
    run: Callable[[Subject, Results], Any]
    verdict: Callable[[Subject, Results], list[str]] = lambda subject, results: []
    figures: Callable[[Subject, Results], Iterator[Figure]] = lambda subject, results: iter(())
    needs: tuple[str, ...] = ()
    full: bool = False
    fits: Callable[[Subject], bool] = lambda subject: True
    looks_for: str = ""
    against: Callable[[Results], str] = lambda results: ""
    apart: bool = False
    answers: str = ""
    reading: str = ""
