"""Progress bars that say what they are of."""

from __future__ import annotations

from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(
    what: str, total: int | None, unit: str = "datum", *, shown: bool = True, unit_scale: bool = False
) -> tqdm[None]:
    """A bar, where the output is a terminal, that goes when it is full.

    Parameters
    ----------
    what
        What is computed, before the bar.
    total
        How many units there are; `None` where that is not known.
    unit
        What is counted.
    shown
        False for no bar.
    unit_scale
        Whether to count in thousands and millions.
    """
    return tqdm(desc=what, total=total, unit=unit, unit_scale=unit_scale, disable=None if shown else True, leave=False)
