"""NumPy's numbers as Python's: torch's generators, JSON and `isinstance(value, int)` know no others."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["for_json", "unboxed"]


def unboxed(value: Any) -> Any:
    """A number or truth value of NumPy as `int`, `float` or `bool`; anything else unchanged.

    >>> unboxed(np.int64(3)), unboxed(np.float32(0.5)), unboxed(np.True_), unboxed("a")
    (3, 0.5, True, 'a')
    """
    if isinstance(value, np.floating):
        return float(value)
    return value.item() if isinstance(value, np.integer | np.bool_) else value


def for_json(value: Any) -> Any:
    """`unboxed`, and arrays of NumPy as lists, as `default` of `json.dumps`.

    Raises
    ------
    TypeError
        For what JSON cannot hold.
    """
    found = value.tolist() if isinstance(value, np.ndarray) else unboxed(value)
    if found is value:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return found
