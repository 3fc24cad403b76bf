"""Expected log predictive density: log p(x) of held-out data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.calls import verb
from ppl_vae.diagnostics.evidence.log_marginal_likelihood import log_marginal_likelihood
from ppl_vae.diagnostics.results import arviz_io, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.draws import draws
from ppl_vae.evaluation import Evaluation
from ppl_vae.evaluation.comparable import Comparable
from ppl_vae.libraries import pd, xr
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split
from ppl_vae.vae.formula import formula_of

__all__ = ["Elpd", "elpd"]


@verb
def elpd(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    method: str = "iwae",
    held_out: bool = True,
    max_rows: Count = 10_000,
    progress: bool = True,
    **options: Any,
) -> Elpd:
    """Expected log predictive density: log p(x) of data that the parameters were not fitted to, in nats.

    Do not use `az.loo` over data here: with a latent per datum its harmonic mean of p(x | z) has an error of several
    nats. `elpd` is itself biased downwards, the more so the worse q is: of two equal models, the one with the better
    guide scores higher.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`; x holds held-out data. A bare tensor carries no provenance: training data are then not
        recognized.
    method
        Method of `log_marginal_likelihood`: ``"iwae"``, ``"ais"``, ``"prior"``, ``"quadrature"``.
    held_out
        `False` for the data the parameters were fitted to: the result records it, and `compare` says so. Validation
        data used only for early stopping count as held out.
    **options
        Options of the method.

    Returns
    -------
    Elpd

    Raises
    ------
    ValueError
        For training data presented as held out; for whatever `log_marginal_likelihood` refuses.
    TypeError
        For an option the method does not have; for a program that is no module with `.model` and `.guide`, and for
        data that are no tensor or `Split`.

    References
    ----------
    Vehtari et al. 2017, arXiv:1507.04544; Merkle et al. 2019, arXiv:1802.04452 (marginal or conditional likelihood).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(test=20)
    >>> found = elpd(build(digits, latent_dim=2, seed=0), digits.test, num_samples=50, seed=0)
    >>> found.estimate < -20 * 40  # an untrained model gives each of 64 pixels some log 2
    True
    """
    split = Split.of(x, *context, mask=mask)
    if held_out:
        _check_held_out(split.provenance)
    options |= {"method": method, "max_rows": max_rows, "progress": progress}
    found = log_marginal_likelihood(program, split, seed=seed, **options)
    with diagnosing(program, split, seed=found.attrs["seed"]) as (split, used):
        _, one = next(draws(program, split[:1], 1))
    nothing = xr.full_like(found["log_px"], math.nan)
    found = found.rename({"log_px_error": "log_px_mcse"}) if "log_px_error" in found else found
    columns = {name: found.get(name, nothing) for name in _UNITS} | {k: found[k] for k in ("believed",) if k in found}
    return Elpd(
        per_datum=xr.Dataset(columns).to_dataframe(),
        method=method,
        num_samples=int(found.attrs.get("num_samples", found.attrs.get("num_chains", 0))),
        seed=used,
        held_out=held_out,
        base_measure=one.measure,
        data=split.record(),
        formula=formula_of(program),
    )


@checked
@dataclass(frozen=True, eq=False)
class Elpd(Comparable):
    """log p(x) of held-out data, by datum and in total, in nats, for x in its raw units.

    Attributes
    ----------
    per_datum
        Indexed by `obs`: `log_px`, `log_px_mcse`, its Monte Carlo standard error, `log_px_bias`, its bias to first
        order (negative), and `pareto_k`; NaN for what the method does not have. For quadrature the error is that of
        the grid. `believed`, where the method says so, false where log_px is a bound.
    method, num_samples, seed
        The method, its draws or chains per datum, and the seed.
    held_out
        Whether the data are declared to be held out.
    base_measure
        As of `Evaluation`: ``"mass"`` or ``"density"``, say, which cannot be compared with each other.
    data
        `identity`, `checksum`, `missing` and `provenance` of the data: see `Split.record`.
    formula
        The program.
    """

    per_datum: pd.DataFrame
    method: str
    num_samples: int
    seed: int
    held_out: bool
    base_measure: str
    data: dict[str, Any]
    formula: str

    @classmethod
    @checked
    def of(cls, evaluation: Evaluation, *, held_out: bool = True) -> Elpd:
        """From a result of `evaluate`.

        Raises
        ------
        ValueError
            For an evaluation of the training data presented as held out, and for one without log p(x).
        """
        if "log_px" not in evaluation.per_datum:
            raise ValueError(
                "elpd expects an evaluation with log p(x), got one of a point-mass posterior or an improper prior, "
                "which has a reconstruction only; use another posterior and prior"
            )
        if held_out:
            _check_held_out(evaluation.data["provenance"])
        return cls(
            per_datum=evaluation.per_datum[[name for name in (*_UNITS, "believed") if name in evaluation.per_datum]],
            method=evaluation.estimator,
            num_samples=evaluation.num_samples,
            seed=evaluation.seed,
            held_out=held_out,
            base_measure=evaluation.base_measure,
            data=evaluation.data,
            formula=evaluation.formula,
        )

    def __repr__(self) -> str:
        share = "" if math.isnan(self.unreliable) else f", not to be believed for {self.unreliable:.0%}"
        return f"Elpd({self.estimate:.2f} ± {self.se:.2f} nats over {len(self.per_datum)} data, {self.method}{share})"

    @property
    def estimate(self) -> float:
        """Sum over the data."""
        return float(self.per_datum["log_px"].sum())

    @property
    def se(self) -> float:
        """Standard error of the sum, over data sets of the same size and population; NaN for one datum."""
        return math.sqrt(len(self.per_datum)) * float(self.per_datum["log_px"].std(ddof=1))

    @property
    def mcse(self) -> float:
        """Monte Carlo standard error of the sum; too small where k-hat is high."""
        return math.sqrt((self.per_datum["log_px_mcse"] ** 2).sum(skipna=False))

    @property
    def bias(self) -> float:
        """Bias of the sum, to first order: negative; too small in magnitude where k-hat is high."""
        return float(self.per_datum["log_px_bias"].sum(skipna=False))

    @property
    def estimator(self) -> str:
        """`method`."""
        return self.method

    @property
    def fitted(self) -> bool:
        """Whether the data are declared, or known, to be those that the parameters were fitted to."""
        return not self.held_out or super().fitted

    @property
    def arviz(self) -> Any:
        """ArviZ's `ELPDData`, for its `compare`, `plot_compare` and, where there is a k-hat, `plot_khat`.

        Where log p(x) is below -745 nats per datum, exp underflows and the weights of ArviZ's `compare` are all equal;
        use `ppl_vae.compare` there.
        """
        return arviz_io.elpd_data(
            self.per_datum["log_px"].to_numpy(),
            self.per_datum["pareto_k"].to_numpy(),
            self.per_datum.index.tolist(),
            num_draws=self.num_samples,
            good_k=0.7 if math.isnan(self.good_k) else self.good_k,
        )

    @property
    def dataset(self) -> xr.Dataset:
        """`per_datum` as a dataset by `obs`, with units."""
        return with_units(
            {name: (("obs",), self.per_datum[name].to_numpy(), unit) for name, unit in _UNITS.items()},
            {"obs": self.per_datum.index.to_numpy()},
            cannot_see="modes of p(z | x) that no draw reached, and whether what the model makes looks like data",
            model=" ".join(self.formula.splitlines()),
            data=self.data["identity"],
            seed=self.seed,
            method=self.method,
            num_samples=self.num_samples,
            base_measure=self.base_measure,
            held_out=int(self.held_out),  # NetCDF attributes cannot be booleans
        )


def _check_held_out(provenance: Mapping[str, Any]) -> None:
    if provenance.get("split") == "train":
        raise ValueError(
            f"elpd expects held-out data, got the training split of {provenance.get('name', 'the data')}: the "
            "parameters were fitted to it; give data.test, or held_out=False for a result that says so"
        )


_UNITS = {"log_px": "nats", "log_px_mcse": "nats", "log_px_bias": "nats", "pareto_k": "1"}
