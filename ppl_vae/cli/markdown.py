"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["lined_up"]


def lined_up(lines: Sequence[Sequence[str]]) -> str:
    """A table, its first line the header, whose columns line up as plain text, too; a | within a cell is escaped."""
    lines = [[value.replace("|", r"\|") for value in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["| " + " | ".join(f"{v:<{w}}" for v, w in zip(line, widths, strict=True)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])
