"""Checks of the arguments of public functions against their annotations.

An annotation gives the type and, by `Annotated`, the range: `Count` is a whole number from 1 on. A function is given
Python numbers where the caller gave numpy scalars; booleans, NaN and infinity do not count as numbers; whole numbers
must fit into 64 bits. An array has at least one dimension; `Numbers` holds real numbers. Data are checked where they
are read.
"""

from ppl_vae.arguments.checked import checked
from ppl_vae.arguments.kinds import (
    Count,
    Floats,
    Fraction,
    Name,
    NonNegative,
    Numbers,
    Positive,
    Range,
    Rate,
    Rule,
    Seed,
    Share,
    Whole,
    as_array,
)
from ppl_vae.arguments.unboxed import for_json

__all__ = [
    "Count",
    "Floats",
    "Fraction",
    "Name",
    "NonNegative",
    "Numbers",
    "Positive",
    "Range",
    "Rate",
    "Rule",
    "Seed",
    "Share",
    "Whole",
    "as_array",
    "checked",
    "for_json",
]
