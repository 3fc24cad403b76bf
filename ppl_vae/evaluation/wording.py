"""Numbers in sentences."""

from __future__ import annotations

import numpy as np

__all__ = ["counted", "data", "mean_and_error", "p_value", "plural", "spread", "told"]


def plural(num: int, one: str, many: str | None = None) -> str:
    """A count with its noun: `1 unit`, `2 units`.

    Examples
    --------
    >>> plural(1, "unit"), plural(0, "unit"), plural(3, "datum", "data")
    ('1 unit', '0 units', '3 data')
    """
    return f"{num} {one if num == 1 else many or one + 's'}"


def data(num: int) -> str:
    """`1 datum`, `2 data`."""
    return plural(num, "datum", "data")


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean over data and its standard error, which is NaN of one datum."""
    values = values[np.isfinite(values)]
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def told(mean: float, error: float) -> str:
    """`1.20 ± 0.10`."""
    return f"{mean:z.2f} ± {error:.2f}" if np.isfinite(error) else f"{mean:z.2f} (of one datum)"


def p_value(p: float) -> str:
    """`p = 0.03`."""
    return f"p = {p:.2g}" if p >= 1e-10 else "p < 1e-10"


def spread(values: np.ndarray, form: str = "{:.2f}") -> str:
    """Median and the middle 90 %: `1.00 (0.90 to 1.10)`."""
    values = values[np.isfinite(values)]
    if not values.size:
        return "(not known)"
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    middle, ends = form.format(median), f"{form.format(low)} to {form.format(high)}"
    return middle if ends == f"{middle} to {middle}" else f"{middle} ({ends})"


def counted(method: np.ndarray, believed: np.ndarray) -> str:
    """How many data have a log p(x) that is believed, by method, and how many a bound."""
    annealed = int((believed & (method == "annealing")).sum())
    sampled, bounds = int((believed & (method != "annealing")).sum()), int((~believed).sum())
    said = [f"{sampled:,} of {len(believed):,} by importance sampling"]
    return ", ".join(
        [*said, *[f"{annealed:,} by annealing"] * bool(annealed), *[plural(bounds, "bound")] * bool(bounds)]
    )
