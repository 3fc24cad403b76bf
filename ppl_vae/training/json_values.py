"""Plain values that go through JSON and come back with the types they had."""

from __future__ import annotations

import json
import math
from typing import Any

from ppl_vae.arguments import for_json

__all__ = ["as_json", "typed_like"]


def as_json(state: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON returns them.

    Raises
    ------
    TypeError
        If an optimizer or schedule has settings that JSON cannot hold.
    """
    try:
        found: dict[str, Any] = json.loads(json.dumps(state, default=for_json))
        return found
    except TypeError as error:
        raise TypeError(
            f"a stored training expects an optimizer and a schedule of plain numbers, got others ({error}); "
            "give numbers instead of tensors or functions, or train without run="
        ) from error


def typed_like(fresh: Any, stored: Any) -> Any:
    """Stored values with the types of fresh ones: JSON turns number keys into text, and tuples into lists.

    Raises
    ------
    TypeError
        For text where a number or boolean is expected, and so on.
    ValueError
        For a number that is not finite where the fresh one is.
    """
    if isinstance(fresh, dict):
        keys = {str(key): key for key in fresh}
        return type(fresh)({keys.get(key, key): typed_like(fresh.get(keys.get(key)), v) for key, v in stored.items()})
    if isinstance(fresh, list | tuple) and len(fresh) == len(stored):
        return type(fresh)(map(typed_like, fresh, stored))
    kinds = (str, bool, (int, float))  # bool first: True is an int
    kind: Any = next((k for k in kinds if isinstance(fresh, k)), object)
    number = kind == (int, float)
    if not isinstance(stored, kind) or (number and isinstance(stored, bool)):
        raise TypeError(f"{stored!r} in the place of {fresh!r}")
    if number and math.isfinite(fresh) and not math.isfinite(float(stored)):
        raise ValueError(f"{stored!r} in the place of {fresh!r}")
    return stored
