"""A formula of a VAE as MathML, which browsers draw without a script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

__all__ = ["mathml"]

_TOKEN = re.compile(r"\s+|[A-Za-z]\d*~?(?![A-Za-z_])|[A-Za-z_]\w*|\d+(?:\.\d+)?|.")


def mathml(formula: str) -> str:
    """Each line of a formula as a block of MathML.

    Examples
    --------
    >>> mathml("p(z1)")
    '<math display="block"><mi>p</mi><mo>(</mo><msub><mi>z</mi><mn>1</mn></msub><mo>)</mo></math>'
    """
    return "".join(f'<math display="block">{"".join(_tokens(line))}</math>' for line in formula.splitlines())


def _tokens(line: str) -> Iterator[str]:
    for token in _TOKEN.findall(line):
        if token.isspace():
            yield '<mspace width="0.3em"/>'
        elif re.fullmatch(r"[A-Za-z]\d*~?", token):
            yield _variable(token)
        elif token[0].isalpha() or token[0] == "_":
            yield f"<mi>{escape(token)}</mi>"
        else:
            tag = "mn" if token[0].isdigit() else "mo"
            yield f"<{tag}>{escape(token)}</{tag}>"


def _variable(token: str) -> str:
    """A letter with its number as a subscript; `x~` with a tilde above."""
    letter, number = token[0], token[1:].removesuffix("~")
    drawn = f"<msub><mi>{letter}</mi><mn>{number}</mn></msub>" if number else f"<mi>{letter}</mi>"
    return f"<mover>{drawn}<mo>~</mo></mover>" if token.endswith("~") else drawn
