"""What a public function is given, checked against its annotations: in one place, with one sentence.

An annotation says the type, and by `Annotated` the range: `Count` is a whole number from 1 on. Numbers of numpy are
taken as Python's, True is no number, NaN and infinity are none either, and whole numbers fit into 64 bits. An array
has a dimension at least, `Numbers` holds real ones. What holds data is checked where it is read.
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
