"""Checks of the arguments of public functions against their annotations.

An annotation gives the type and, by `Annotated`, the range: `Count` is a whole number from 1 on. Numpy scalars count as
Python numbers; booleans, NaN and infinity do not count as numbers; whole numbers must fit into 64 bits. An array has at
least one dimension; `Numbers` holds real numbers. Data are checked where they are read.
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
]
