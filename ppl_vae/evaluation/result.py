"""What an evaluation found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppl_vae.importance import good_k

__all__ = ["Evaluation"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Bounds, log p(x) and what they are worth, per datum and in all.

    Log densities are of the data in their original units.

    Attributes
    ----------
    per_datum
        Indexed by `obs`, the position in the data set. Columns in nats: `elbo`, `reconstruction`, `kl_<site>`,
        `log_px` (importance sampling) and `log_px_mcse`, its Monte Carlo standard error. Then `ess`, the effective
        number of samples; `pareto_k`, above `good_k` where log_px and its error cannot be believed; and
        `bits_per_dim`, where the domain has them. For a point-mass posterior `reconstruction` alone.
    unit_variance
        Variance over the data of the posterior mean of each latent unit, by site.
    num_samples, seed
        How many draws a datum, from which seed.
    base_measure
        ``"mass"`` or ``"density"``; the two may not be compared.
    data
        `identity`, `checksum` and `provenance` of the data.
    formula
        The program evaluated.
    """

    per_datum: pd.DataFrame
    unit_variance: dict[str, list[float]]
    num_samples: int
    seed: int
    base_measure: str
    data: dict[str, Any]
    formula: str

    @property
    def summary(self) -> pd.DataFrame:
        """Mean over the data and its standard error, for `nll` and every column in nats or bits.

        The error is that of the mean over data; the Monte Carlo error of each datum is part of their spread.
        """
        columns = [c for c in self.per_datum if c not in ("log_px_mcse", "ess", "pareto_k")]
        table = self.per_datum[columns].rename(columns={"log_px": "nll"})
        if "nll" in table:
            table["nll"] = -table["nll"]
        n = len(table)
        se = table.std(ddof=1) / np.sqrt(n) if n > 1 else table.iloc[0] * np.nan
        return pd.DataFrame({"mean": table.mean(), "se": se})

    @property
    def active_units(self) -> dict[str, int]:
        """Latent units whose posterior mean varies over the data by more than 0.01, by site.

        References
        ----------
        Burda et al. 2016, arXiv:1509.00519, section 5.2.
        """
        return {site: sum(v > 0.01 for v in variance) for site, variance in self.unit_variance.items()}

    @property
    def good_k(self) -> float:
        """The largest k-hat at which this many samples can be believed; NaN for fewer than 25."""
        return good_k(self.num_samples) if self.num_samples >= 25 else float("nan")

    @property
    def unreliable(self) -> float:
        """Share of the data whose k-hat is above `good_k`; NaN where there is none."""
        k = self.per_datum.get("pareto_k")
        return float("nan") if k is None or k.isna().all() else float((k > self.good_k).mean())

    def __repr__(self) -> str:
        lines = [f"{self.formula.splitlines()[0]}: {len(self.per_datum)} data, {self.base_measure}"]
        for name, (mean, se) in self.summary.iterrows():
            unit = "bits per dimension" if name == "bits_per_dim" else "nats per datum"
            lines.append(f"  {name:<16}{mean:>10.3f} ± {se:.3f} {unit}")
        if "log_px" not in self.per_datum:
            return "\n".join([*lines, "  a point-mass posterior has no ELBO, log p(x), KL or k-hat"])
        units = ", ".join(f"{n} of {len(self.unit_variance[s])} in {s}" for s, n in self.active_units.items())
        lines.append(f"  active units: {units}")
        if self.num_samples >= 25:
            lines.append(
                f"  k-hat > {self.good_k:.2f} for {self.unreliable:.1%} of the data: "
                + ("there log p(x) may be too low" if self.unreliable else "log p(x) and its error can be believed")
                + f" (S={self.num_samples}, seed {self.seed})"
            )
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Write everything as JSON."""
        content = {**vars(self), "per_datum": {"obs": self.per_datum.index.tolist(), **_columns(self.per_datum)}}
        content["summary"] = {name: {"mean": m, "se": s} for name, (m, s) in self.summary.iterrows()}
        content["active_units"] = self.active_units
        content["unreliable"] = self.unreliable
        Path(path).write_text(json.dumps(content, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Read what `save` wrote."""
        content = json.loads(Path(path).read_text())
        table = pd.DataFrame(content.pop("per_datum")).set_index("obs")
        return cls(per_datum=table, **{k: content[k] for k in cls.__dataclass_fields__ if k != "per_datum"})


def _columns(table: pd.DataFrame) -> dict[str, list[float]]:
    return {str(name): column.tolist() for name, column in table.items()}
