"""The HTML of a page: words and tables, and the script, style and values that draw the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files
from string import Template
from typing import Any

import ppl_vae.pages.words as words
from ppl_vae.pages.comparison import compared, differences
from ppl_vae.pages.subject import Subject

__all__ = ["page"]

_SCRIPTS = ("graph", "charts", "values", "panels", "explorer", "main")
_SECTIONS: tuple[tuple[str, str], ...] = (
    ("training", "Training"),
    ("data", "Each datum: can log p(x) be believed?"),
    ("latents", "The aggregate posterior"),
    ("samples", "Samples"),
    ("reconstructions", "Reconstructions"),
    ("explorer", "Latent explorer"),
)
"""What the script draws, in order."""


def page(subjects: Sequence[Subject], contents: Sequence[dict[str, Any]]) -> str:
    """The whole page; it loads nothing."""
    versions = {library: version(library) for library in ("ppl_vae", "torch", "pyro-ppl")}
    sections = [
        *(
            [("compare", "The runs compared", f"{compared(subjects)}<div data-panel='compare'></div>")]
            if len(subjects) > 1
            else []
        ),
        ("verdict", "Verdict", _each(subjects, words.verdict)),
        ("model", "Model", _each(subjects, words.formula)),
        ("numbers", "Numbers", _each(subjects, words.numbers)),
        *((key, title, _panels(subjects, key)) for key, title in _SECTIONS),
        ("diagnostics", "Diagnostics, and what each cannot see", _each(subjects, words.diagnostics_table)),
        ("provenance", "How this page was made", _each(subjects, lambda s: words.provenance(s, versions))),
    ]
    values = {"runs": list(contents), "compare": differences(subjects) if len(subjects) > 1 else None}
    return Template(_file("page.html")).substitute(
        title=escape(", ".join(subject.name for subject in subjects)),
        style=_file("page.css"),
        links="".join(f'<li><a href="#{key}">{escape(title)}</a></li>' for key, title, _ in sections),
        sections="".join(_section(key, title, inside) for key, title, inside in sections),
        values=_json(values),
        script="\n".join(_file(f"{name}.js") for name in _SCRIPTS),
    )


def _file(name: str) -> str:
    return files("ppl_vae.pages").joinpath(name).read_text(encoding="utf-8")


def _json(values: Any) -> str:
    """JSON that ends no script, whatever names a table has."""
    return json.dumps(values, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _section(key: str, title: str, inside: str) -> str:
    return (
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{escape(title)}</h2>{inside}</section>'
    )


def _each(subjects: Sequence[Subject], said: Callable[[Subject], str]) -> str:
    """What is said of each run, side by side."""
    return _side_by_side(subjects, [said(subject) for subject in subjects])


def _panels(subjects: Sequence[Subject], key: str) -> str:
    """A place for each run that the script draws into."""
    return _side_by_side(subjects, [f'<div data-panel="{key}" data-run="{i}"></div>' for i in range(len(subjects))])


def _side_by_side(subjects: Sequence[Subject], inside: Sequence[str]) -> str:
    heads = [f"<h3>{escape(subject.name)}</h3>" if len(subjects) > 1 else "" for subject in subjects]
    articles = (f"<article>{head}{one}</article>" for head, one in zip(heads, inside, strict=True))
    return f'<div class="runs">{"".join(articles)}</div>'
