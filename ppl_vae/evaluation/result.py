"""The result of an evaluation."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.arguments import checked
from ppl_vae.checksums import sealed, unsealed
from ppl_vae.evaluation.comparable import Comparable
from ppl_vae.evaluation.wording import counted, data
from ppl_vae.files import interpreted, number, write_text
from ppl_vae.importance import FEWEST, MOST
from ppl_vae.libraries import pd

__all__ = ["Evaluation"]


@checked
@dataclass(frozen=True, eq=False)
class Evaluation(Comparable):
    """Bounds, log p(x) and whether it is believed, for each datum and as means over the data.

    Log densities are of the data in their original units.

    Attributes
    ----------
    per_datum
        Indexed by `obs`, the position in the data set. Columns in nats: `elbo`, `reconstruction`, `kl_<site>`
        (`kl_<site>_` for a site whose name would make it one of the next), `log_px` (importance sampling);
        `log_px_bias`, by how much it is too low on average, to first order; `kl_gap` = log_px - elbo, the KL from
        q(z | x) to p(z | x), a lower bound of it where k-hat is high; and the Monte Carlo standard errors `elbo_mcse`,
        `log_px_mcse` and `kl_gap_mcse`. Among the data with a good k-hat, 1.96 of them to either side cover the truth
        for about 95 %, the error of a heavy tail included (`importance.tail_error`). They are too small where k-hat is
        high. Discrete latents with at most 4096 states are summed over, with errors of 0; with more states the errors
        are NaN where a state was not drawn. So they are, with an infinite `pareto_k`, where draws of a narrow q
        coincide as floating-point numbers. Then `ess`, the effective number of samples; `pareto_k`, above `good_k`
        where log_px and its error are not believed, NaN for a discrete q; and `bits_per_dim`, where the domain has
        them. A point-mass posterior has `reconstruction` alone.
    unit_variance
        Variance over the data of the posterior mean of each latent unit, by site; NaN for one datum, or fewer than 25
        samples.
    num_samples, seed
        Number of draws for each datum, and their seed.
    base_measure
        ``"mass"`` or ``"density"``; for mixed columns, which is which; for a row, ``"mass given the total"`` or ``"mass
        given the total as an exposure"``, which leave out -log p(total). Results of different base measures cannot be
        compared.
    data
        `identity`, `checksum`, `missing` and `provenance` of the data: see `Split.record`.
    formula
        The program evaluated.
    adaptation
        Of ``method="adaptive"``: its budgets and, as sentences, what happened on the way (``"notes"``). `per_datum`
        then has three more columns: `method`, which gave the datum its log p(x), ``"importance"`` (with q),
        ``"adaptive"`` or ``"annealing"``; `believed`, false where it is a bound; and `evaluations`, the number of
        evaluations of log p(x, z), one with its gradient counted as 3. Annealed data have no k-hat.
    rounded
        Of ``precision="bf16"``: on how many data log p(x) was compared with that of products in float32 (`compared`),
        by how much it is higher in the mean (`mean`, with its standard error over two data or more, `se`), and the
        largest difference (`largest`), in nats.
    compiled
        Of ``compile``: of how many data the model's log densities were compiled (`data`), in how many seconds
        (`seconds`), and why not of all (`reason`, or `None`).
    weights
        SHA-256 of the run's weights, where the command line evaluated it: `compare` refuses it once the run was trained
        further.
    """

    per_datum: pd.DataFrame
    unit_variance: dict[str, list[Any]]
    num_samples: int
    seed: int
    base_measure: str
    data: dict[str, Any]
    formula: str
    adaptation: dict[str, Any] | None = None
    rounded: dict[str, Any] | None = None
    compiled: dict[str, Any] | None = None
    weights: str | None = None

    @property
    def summary(self) -> pd.DataFrame:
        """Mean over the data and its standard error, for `nll` and every column in nats or bits.

        The error is that of the mean over data; the Monte Carlo error of each datum is part of their spread. Where
        `one_code`, `nll` is minus the ELBO, an upper bound of -log p(x). Data
        without bits per dimension, because none of their elements was observed, are left out of its mean.
        """
        columns = [c for c in map(str, self.per_datum) if c not in _OF_DRAWS]
        table = self.per_datum[columns].rename(columns={"log_px": "nll"})
        if "nll" in table:
            table["nll"] = -table["nll"]
        with np.errstate(invalid="ignore"):  # where a datum has log p(x) = -inf, the error of the mean is NaN
            return pd.DataFrame({"mean": table.mean(), "se": table.std(ddof=1) / np.sqrt(table.count())})

    @property
    def active_units(self) -> dict[str, float]:
        """Number of latent units whose posterior mean varies over the data by more than 0.01, by site; NaN: not known.

        References
        ----------
        Burda et al. 2016, arXiv:1509.00519, section 5.2.
        """
        return {
            site: math.nan if any(map(math.isnan, variance)) else sum(v > 0.01 for v in variance)
            for site, variance in self.unit_variance.items()
        }

    @property
    def one_code(self) -> bool:
        """Whether all draws of a datum were equal: q is a code (`VectorQuantized`), and `log_px` is the ELBO."""
        of_one_draw = self.per_datum.get(["kl_gap", "log_px_mcse", "pareto_k"], pd.DataFrame([0.0]))
        return self.num_samples > 1 and bool(of_one_draw.isna().all(axis=None))

    @property
    def exact(self) -> bool:
        """Whether log p(x) is known to be a sum over all states of discrete latents: no draw and no error is in it."""
        if self.num_samples < FEWEST or "log_px_mcse" not in self.per_datum:
            return False
        return bool((self.per_datum["log_px_mcse"].eq(0) & self.per_datum["pareto_k"].isna()).all())

    @property
    def num_active(self) -> float:
        """Number of active units over all sites; NaN: not known."""
        return sum(self.active_units.values())

    @property
    def estimator(self) -> str:
        """``"iwae"`` for importance sampling with q, or ``"adaptive"``."""
        return "iwae" if self.adaptation is None else "adaptive"

    def __repr__(self) -> str:
        lines = [f"{self.formula.splitlines()[0]}: {data(len(self.per_datum))}, {self.base_measure}, raw units"]
        if "seed" in self.data.get("provenance", {}):
            lines.append(f"  the random preprocessing of x was drawn once, from seed {self.data['provenance']['seed']}")
        for name, (mean, se) in self.summary.drop(index="kl_gap", errors="ignore").iterrows():
            unit = "bits per dimension" if name == "bits_per_dim" else "nats per datum"
            lines.append(f"  {name:<16}{mean:>10.3f} ± {se:.3f} {unit}")
        if "log_px" not in self.per_datum:
            lines.append("  a point-mass posterior has no ELBO, log p(x), KL or k-hat")
            return "\n".join([*lines, *self._computed()])
        lines += [*self._gap(), f"  active units: {self._active()}", *self._verdict(), *self._computed()]
        return "\n".join(lines)

    def _computed(self) -> list[str]:
        """By what the numbers were computed, where that is not the default."""
        return [
            *self._rounding(),
            *([] if self.compiled is None else _compiled(**self.compiled, of=len(self.per_datum))),
        ]

    def _rounding(self) -> list[str]:
        if self.rounded is None:
            return []
        if not self.rounded["compared"]:
            return ["  products in bfloat16, not compared with those in float32"]
        error = f" ± {self.rounded['se']:.4f}" if "se" in self.rounded else ""
        return [
            f"  products in bfloat16: on {self.rounded['compared']} of the data log p(x) is higher than in float32 by "
            f"{self.rounded['mean']:.4f}{error} nats; the largest difference is {self.rounded['largest']:.4f}"
        ]

    def _gap(self) -> list[str]:
        gap = self.summary.T.get("kl_gap")
        if gap is None or math.isnan(gap["mean"]):
            return []
        bound = "" if self.unreliable == 0 else ", a lower bound"
        return [f"  KL from q(z | x) to p(z | x): {gap['mean']:.3f} ± {gap['se']:.3f} nats per datum{bound}"]

    def _active(self) -> str:
        if any(map(math.isnan, self.active_units.values())):
            return f"not known from {'one datum' if len(self.per_datum) < 2 else f'fewer than {FEWEST} draws a datum'}"
        return ", ".join(f"{n} of {len(self.unit_variance[s])} in {s}" for s, n in self.active_units.items())

    @property
    def methods(self) -> str:
        """How many data have a log p(x) that is believed, by method: `9 of 10 by importance sampling, 1 bound`.

        Empty for ``method="importance"``.
        """
        if self.adaptation is None:
            return ""
        return counted(self.per_datum["method"].to_numpy(), self.per_datum["believed"].to_numpy())

    def _verdict(self) -> list[str]:
        """Whether log p(x) is believed, and what k-hat cannot detect."""
        if self.adaptation is not None:
            cost = self.per_datum["evaluations"].mean()
            return [
                f"  log p(x): {self.methods}, of {cost:,.0f} evaluations of log p(x, z) a datum (S={self.num_samples}, "
                f"seed {self.seed})",
                *(f"  {note}" for note in self.adaptation["notes"]),
            ]
        if self.one_code:
            return ["  nll is minus the ELBO, an upper bound of -log p(x): q is one code, whose draws are all the same"]
        settings = f"(S={self.num_samples}, seed {self.seed})"
        if math.isnan(self.good_k):
            few = f"is not known from fewer than {FEWEST} draws a datum {settings}"
            exact = self.per_datum["log_px_mcse"].eq(0).all()
            return [] if exact else [f"  nll is an upper bound: whether it is close {few}"]
        unseen = f"modes that q never visits are not seen {settings}"
        no_tail = "  no k-hat: the weights of a discrete q have no tail"
        if self.exact:
            return [f"{no_tail}, and need none: log p(x) is the sum over all states of z, with no error"]
        not_drawn = (
            f"the error of log p(x) is not known for {self.undrawn} of {data(len(self.per_datum))}: some states of a "
            "discrete latent were not drawn and cannot be summed over; there log p(x) may be too low"
        )
        if self.per_datum["pareto_k"].isna().all():
            return [f"{no_tail} to judge log p(x) by; {not_drawn if self.undrawn else unseen}"]
        close = f"  draws of a narrow q coincide for {data(self.collapsed)}: ELBO and log p(x) are not known there"
        return [*[f"  {not_drawn}"] * bool(self.undrawn), *[close] * bool(self.collapsed), *self._of_tails(unseen)]

    def _of_tails(self, unseen: str) -> list[str]:
        high = float(self.per_datum["pareto_k"].gt(self.good_k).mean())
        sign = "there log p(x) may be too low and its error too small" if high else _NO_SIGN
        steady = "" if self.num_samples >= 100 else "; k-hat is unsteady for S < 100"
        said = [f"  k-hat > {self.good_k:.2f} for {high:.1%} of the data: {sign}; {unseen}{steady}"]
        if MOST < high < 1:
            said.append("  a good k-hat among so many high ones may be luck; method='adaptive' tries every datum")
        return said

    @checked
    def save(self, path: str | Path) -> None:
        """Write everything as JSON: NaN as null, infinity as a string, and its SHA-256; whole, or not at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        content = {**vars(self), "per_datum": {"obs": self.per_datum.index.tolist(), **_columns(self.per_datum)}}
        for name in _OPTIONAL:
            if content[name] is None:
                del content[name]
        content["summary"] = {name: {"mean": m, "se": s} for name, (m, s) in self.summary.iterrows()}
        content["active_units"] = self.active_units
        content["unreliable"] = self.unreliable
        write_text(Path(path), sealed(_plain(content)))

    @classmethod
    @checked
    def load(cls, path: str | Path) -> Evaluation:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no evaluation, or was changed since it was written.
        """
        content, has_seal = unsealed(Path(path), _AGAIN, most=2**30)
        if not has_seal:
            _check_names(content, Path(path))
        with interpreted(Path(path), _AGAIN):
            table = pd.DataFrame({name: _column(name, values) for name, values in content["per_datum"].items()})
            units = {site: _numbers(v).tolist() for site, v in content["unit_variance"].items()}
            names = [name for name in cls.__dataclass_fields__ if name not in ("per_datum", "unit_variance")]
            rest = {n: _TYPES.get(n, _as_it_is)(content[n]) for n in names if n not in _OPTIONAL}
            optional: dict[str, Any] = {n: content.get(n) for n in _OPTIONAL}
            found = cls(table.set_index("obs"), units, **rest, **optional)
            known = found.base_measure.split(" ")[0] in ("mass", "density", "mixed")
            if not known or not {"identity", "checksum"} <= found.data.keys():
                raise TypeError(f"base measure {found.base_measure!r} of data {sorted(found.data)}")
            found.data["provenance"].get("name")
        if not has_seal:
            warnings.warn(
                f"{str(path)!r} was written by a version of ppl_vae that kept no checksum: whether it is as it was "
                "written is not known; evaluate the run again",
                stacklevel=2,
            )
        return found


def _compiled(data: int, seconds: float, reason: str | None, of: int) -> list[str]:
    """What `Evaluation.compiled` says."""
    took = [f"  compiled for {data} of {of} data, in {seconds:.1f} s"] if seconds else []
    return took if reason is None else [*took, f"  not compiled{' throughout' if data else ''}: {reason}"]


def _as_it_is(value: Any) -> Any:
    return value


def _check_names(content: dict[str, Any], path: Path) -> None:
    """Refuse what is no evaluation of an earlier version."""
    expected = {"per_datum", "unit_variance", *_TYPES}
    known = expected | {"summary", "active_units", "unreliable"}
    if wrong := sorted((expected - content.keys()) | (content.keys() - known)):
        raise ValueError(
            f"expected an evaluation in {str(path)!r}, got one {'without' if wrong[0] in expected else 'with'} "
            f"{wrong[0]!r}; {_AGAIN}"
        )


def _columns(table: pd.DataFrame) -> dict[str, list[float]]:
    return {str(name): column.tolist() for name, column in table.items()}


def _plain(content: Any) -> Any:
    """Values with their numbers as JSON has them."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return number(content) if isinstance(content, float) else content


def _column(name: str, values: list[Any]) -> np.ndarray:
    """A column of `per_datum`: text of methods, or numbers."""
    return np.array(list(map("".__add__, values)), dtype=object) if name == "method" else _numbers(values)


def _numbers(values: list[Any]) -> np.ndarray:
    found = np.array([math.nan if v is None else float(v) if isinstance(v, str) else v for v in values])
    if found.dtype.kind not in "biuf":
        raise TypeError(f"values of type {found.dtype}")
    return found


_OF_DRAWS = (
    *("ess", "pareto_k", "elbo_mcse", "log_px_mcse", "log_px_bias", "kl_gap_mcse"),
    *("method", "believed", "evaluations"),
)
_OPTIONAL = ("adaptation", "rounded", "compiled", "weights")
_NO_SIGN = "no sign that log p(x) is off"

_AGAIN = "it was damaged or is no evaluation: evaluate the runs again (`ppl-vae evaluate RUN`)"

_TYPES: dict[str, Callable[[Any], Any]] = {
    "num_samples": operator.index,
    "seed": operator.index,
    "base_measure": "".__add__,
    "data": dict,
    "formula": "".__add__,
}
"""Attributes that JSON gives back as they are, and what refuses other types."""
