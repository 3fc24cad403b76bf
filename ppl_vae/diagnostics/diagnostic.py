"""One diagnostic: the question it answers, how it is run, and how its result is reported and plotted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppl_vae.arguments import checked
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split

__all__ = ["Diagnostic", "Figure", "Panel", "Results", "Subject", "one_panel"]

Results = Mapping[str, Any]
"""Results of the diagnostics, datasets or trees, by name of the diagnostic."""


@checked
@dataclass(frozen=True, kw_only=True)
class Subject:
    """The program and data of a diagnosis, as passed to each diagnostic.

    Attributes
    ----------
    program
        A module with `.model` and `.guide`.
    data
        All data.
    chosen
        The data of the full diagnosis, from the best to the worst fitted.
    tree
        Draws from q for the chosen data, as `to_arviz` returns them.
    check
        The dataset of `check_guide`, for all data.
    length
        Length of HMC and AIS.
    options
        `seed`, `max_rows` and `progress`, keyword arguments shared by all diagnostics of a program.
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
    """One Axes, as data: what `plot(*args, **kwargs)` draws.

    Attributes
    ----------
    plot
        Name of a function of `ppl_vae.plots`, or a function of your own that takes `ax=` and returns the Axes.
    args, kwargs
        Its arguments: arrays, labels with units.
    title
        Title of the Axes; empty for the plot's default.
    """

    plot: str | Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""


@checked
@dataclass(frozen=True)
class Figure:
    """A figure, as data: `ppl_vae.plots.draw` draws it, as `diagnostics` lies below `plots` in the import order.

    Attributes
    ----------
    name
        Name of the file, without suffix.
    rows
        Panels, row by row, the same number in each row.
    size
        Width and height of a panel in inches; `None` for the plot's default, with one panel.
    """

    name: str
    rows: Sequence[Sequence[Panel]]
    size: tuple[float, float] | None = None


def one_panel(name: str, plot: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Figure:
    """A figure of one plot."""
    return Figure(name, [[Panel(plot, args, kwargs)]])


@checked
@dataclass(frozen=True, kw_only=True, repr=False)
class Diagnostic:
    """One question about q(z | x): how to run it, report it and plot it.

    Attributes
    ----------
    name
        Name of the result.
    question
        Heading of its section in the report; if empty, another diagnostic's section reports the result.
    run
        Computes the result, a dataset or an ArviZ tree, from a subject and the results so far. If it raises, the
        diagnostic is left out with the message as the reason.
    verdict
        A list of the lines of its section; the first sentence answers the question.
    figures
        Figures of the result.
    needs
        Names of diagnostics; at least one of them must have a result.
    full
        Whether it takes seconds to minutes and is run only in a full diagnosis.
    fits
        Whether it applies to a subject; if not, it is skipped without a reason.
    looks_for
        The evidence against q that it can find and draws of q cannot show; empty if none.
    against
        The evidence against q that it found, as part of a sentence; empty if none.
    answers, reading
        The function that answers the question, and how to read its result, for the table of the documentation.
    apart
        Whether its result is a tree of draws from p(z | x), kept as a separate tree.
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

    def __repr__(self) -> str:
        return f"<Diagnostic {self.name}>"

    def told(self, subject: Subject, results: Results) -> list[str]:
        """The lines of `verdict`.

        Raises
        ------
        RuntimeError
            If `verdict` raises.
        TypeError
            If it returns no list of text.
        """
        lines = self._called("verdict", self.verdict, subject, results)
        return self._each("verdict", lines, str, "a list of sentences")

    def evidence(self, results: Results) -> str:
        """The text of `against`.

        Raises
        ------
        RuntimeError
            If `against` raises.
        """
        return str(self._called("against", self.against, results))

    def drawn(self, subject: Subject, results: Results) -> list[Figure]:
        """The figures of `figures`.

        Raises
        ------
        RuntimeError
            If `figures` raises.
        TypeError
            If it returns no figures.
        """
        made = self._called("figures", lambda *given: [*self.figures(*given)], subject, results)
        return self._each("figures", made, Figure, "figures")

    def _called(self, part: str, f: Callable[..., Any], *args: Any) -> Any:
        try:
            return f(*args)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise RuntimeError(
                f"the diagnostic {self.name!r} expects its {part} to be made of its result, got "
                f"{type(error).__name__}: {reason}; correct `{part}`"
            ) from error

    def _each(self, part: str, made: Any, kind: type, words: str) -> list[Any]:
        if isinstance(made, str) or not isinstance(made, Sequence) or not all(isinstance(one, kind) for one in made):
            raise TypeError(
                f"the diagnostic {self.name!r} expects its {part} to give {words}, got {made!r:.80}; correct `{part}`"
            )
        return list(made)
