"""The aggregated posterior q(z) against the prior: decomposition of the KL of the ELBO."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.casting import arguments
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Results, Subject, one_panel
from ppl_vae.diagnostics.latents.aggregate_draws import MeanDensity, aggregate_draws, mean_density, prior_varies
from ppl_vae.diagnostics.latents.energy import EnergyTest, energy_test
from ppl_vae.diagnostics.latents.marginals import Marginals, marginals
from ppl_vae.diagnostics.posterior import LatentSites, LogJoint, log_joints
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.evaluation.wording import p_value
from ppl_vae.find_plates import find_plates
from ppl_vae.isolation import evaluating
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.split import Split

__all__ = ["AGGREGATED_POSTERIOR", "aggregated_posterior"]

REFUSED = ("marginal_kl", "total_correlation")
MARGIN = 3.0  # nats between I(n; z) and log N: with less, the estimated KL of an exact q exceeds 0.1 nats


@verb
def aggregated_posterior(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    num_samples: Count = 1000,
    num_permutations: Count = 500,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> xr.Dataset:
    """The aggregated posterior q(z) = (1/N) sum_n q(z | x_n) against p(z); its KL is NaN where N is too small.

    The KL of the ELBO is the mutual information of z and the index n of the datum, plus the KL from q(z) to p(z):

        mean_kl = mutual_information + marginal_kl,
        marginal_kl = total_correlation + the sum of dimwise_kl, where p(z) factorizes over the units.

    q(z) is evaluated over all N data, at draws z ~ q(z). The mutual information cannot exceed log N. Within 3 nats of
    log N the posteriors hardly overlap, and `marginal_kl` and `total_correlation` are dominated by the finite N (up to
    6.6 nats for an exact posterior with q(z) = p(z)): they are NaN, `attrs["reason"]` says so, and
    `mutual_information` is a lower bound. `dimwise_kl` stays valid. So does the energy test, which uses one draw per
    datum: its null hypothesis is q(z) = p(z) in the limit of infinitely many data.

    A prior that depends on the context of a datum, its mask or x is averaged over the data as q is,
    p(z) = (1/N) sum_n p(z | c_n). `mean_kl` is the KL of the ELBO, to p(z | c_n); it is smaller than the sum above by
    the information of the contexts on z. Latents that a mask leaves out have their prior given the others in
    q(z | x_n), too.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`. Give the training data as x to find regions of the prior that the decoder was not trained on.
        `max_rows` bounds the memory only down to all draws for one datum.
    num_samples
        Draws z ~ q(z), 2 or more; the energy test takes as many, but no more than 1,000 or than there are data.
    num_permutations
        Permutations of the energy test.

    Returns
    -------
    xarray.Dataset
        In nats, each with its Monte Carlo standard error `<name>_mcse`, for these N data: `mutual_information`,
        `total_correlation`, `marginal_kl`, `mean_kl`; `log_n`; `dimwise_kl`, KL(q(z_j) || p(z_j)), (latent,), of
        several sites `dimwise_kl_<site>`, (latent_<site>,). `attrs["estimator"]` names the estimator of the marginals:
        exact where the units of q (or p) are independent given x, Gaussian, or a Gaussian mixture; averaged over draws
        of the other latents in a hierarchy; else by kernel density estimate, which is too wide (`total_correlation`
        too large) and far too low in tails without draws (`dimwise_kl` too large for such a p). `energy_distance`
        between q(z) and p(z), of unconstrained latents (`biject_to`) divided by the standard deviation of the pooled
        samples; `energy_null`, its 95 % quantile under q(z) = p(z); and `p_value` of the permutation test, exact for
        independent data. They are NaN for one datum.

    Raises
    ------
    ValueError
        For fewer than two draws; for discrete latents, a point mass or an improper prior; for sites outside the plate
        over the data.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Hoffman & Johnson 2016, "ELBO surgery", NIPS workshop on approximate inference; Chen et al. 2018,
    arXiv:1802.04942; Szekely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> _ = torch.manual_seed(0)
    >>> found = aggregated_posterior(build(digits, latent_dim=2), digits.train, num_samples=100, seed=0)
    >>> surgery = found.mutual_information + found.marginal_kl
    >>> bool(abs(found.mean_kl - surgery) < 1e-4), bool(found.mutual_information < found.log_n)
    (True, True)
    """
    _check_num(num_samples)
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        where = find_plates(program, split)
        names = LogJoint(program, *arguments(program, split[:1]), where).layout  # refuses latents without a density

        def sites_of(rows: Tensor | slice) -> LatentSites:
            return LatentSites.of(program, names, split[rows], where)

        index = torch.randint(len(split), (3, num_samples))
        draws = partial(aggregate_draws, sites_of)
        drawn, others, of_prior = draws(index[0]), draws(index[1]), draws(index[2], prior=True)
        max_rows = where.rows(max_rows)
        varies = prior_varies(sites_of, len(split), drawn, max_rows=max_rows)
        priors = len(split) if varies else 1
        with progress_bar("aggregate posterior", len(split) + priors, shown=progress) as bar:
            q = mean_density(sites_of, len(split), drawn, max_rows=max_rows, update=bar.update)
            p = mean_density(sites_of, priors, drawn, prior=True, max_rows=max_rows, update=bar.update)
        once = draws(torch.randperm(len(split))[:num_samples])  # draws of one datum are not independent
        p_once = draws(torch.randperm(len(split))[:num_samples], prior=True) if varies else of_prior
        energy = _energy(once.flat, p_once.flat, num_permutations)
        of_units = partial(marginals, sites_of, given=drawn, max_rows=max_rows)
        units_q = {site: of_units(site, q, others=others) for site in drawn.u}
        units_p = {site: of_units(site, p, others=of_prior, prior=True) for site in drawn.u}
    own_p = p.own if varies else p.joint
    terms = _terms(q, p, own_p, _summed(drawn.log_jacobian.values()), _summed(m.log_prob for m in units_q.values()))
    about = attributes(program, split, used, identity=_identity(p, own_p), num_samples=num_samples)
    variables = _variables(terms, units_q, units_p, math.log(len(split))) | _of_test(energy)
    dataset = with_units(variables, {}, cannot_see=_CANNOT_SEE, **about)
    return _explained(dataset, units_q, units_p)


def _terms(q: MeanDensity, p: MeanDensity, own_p: Tensor, jacobian: Tensor, of_units: Tensor) -> dict[str, Tensor]:
    """The terms of the KL, each (draws,), in nats."""
    return {
        "mutual_information": q.own - q.joint,
        "total_correlation": q.joint + jacobian - of_units,
        "marginal_kl": q.joint - p.joint,
        "mean_kl": q.own - own_p,
    }


def _check_num(num_samples: int) -> None:
    if num_samples < 2:
        raise ValueError(f"aggregated_posterior expects two draws or more, got num_samples={num_samples}; give more")


def _summed(by_unit: Iterable[Tensor]) -> Tensor:
    """Sum over the units of all sites, each (draws, units)."""
    return torch.cat(list(by_unit), -1).sum(-1)


_BySite = dict[str, Marginals]
_Variables = dict[str, tuple[tuple[str, ...], Any, str]]


def _identity(p: MeanDensity, own_p: Tensor) -> str:
    """Which identities hold between the terms."""
    product = torch.cat([torch.zeros_like(p.joint)[:, None], *p.units.values()], -1).sum(-1)
    surgery = (
        "mean_kl = mutual_information + marginal_kl"
        if torch.allclose(own_p, p.joint, atol=1e-3)
        else "mean_kl is less than mutual_information + marginal_kl by what the contexts say of z, or what else "
        "p(z) of a datum depends on"
    )
    split = (
        "marginal_kl = total_correlation + the sum of dimwise_kl"
        if torch.allclose(product, p.joint, atol=1e-3)
        else "marginal_kl is estimated directly: p(z) does not factorize over the units, so total_correlation and "
        "dimwise_kl do not add up to it"
    )
    return f"{surgery}; {split}"


def _variables(terms: dict[str, Tensor], q: _BySite, p: _BySite, log_n: float) -> _Variables:
    """Means over the draws, with their standard errors; NaN for the terms that N is too small for."""
    near = log_n - terms["mutual_information"].mean().item() < MARGIN
    found: _Variables = {"log_n": ((), log_n, "nats")}
    for name, values in terms.items():
        found |= _with_error(name, (), values * math.nan if near and name in REFUSED else values)
    for site, suffix in _suffixes(q).items():
        found |= _with_error(f"dimwise_kl{suffix}", (f"latent{suffix}",), q[site].log_prob - p[site].log_prob)
    return found


def _energy(q: Tensor, p: Tensor, num_permutations: int) -> EnergyTest:
    if len(q) < 2:
        return EnergyTest(*[math.nan] * len(EnergyTest._fields))
    scale = torch.cat([q, p]).std(0).clamp_min(1e-12)  # of the pooled samples, invariant to permutations
    return energy_test(q / scale, p / scale, num_permutations=num_permutations)


def _of_test(energy: EnergyTest) -> _Variables:
    scale = "square root of standard deviations"
    return {
        "energy_distance": ((), energy.distance, scale),
        "energy_distance_mcse": ((), energy.mcse, scale),
        "energy_null": ((), energy.null, scale),
        "p_value": ((), energy.p_value, "1"),
        "p_value_mcse": ((), energy.p_value_mcse, "1"),
    }


def _explained(dataset: xr.Dataset, q: _BySite, p: _BySite) -> xr.Dataset:
    """Adds the estimators of the marginals, and the reason why a term is NaN."""
    for site, suffix in _suffixes(q).items():
        said = f"q(z_j) {q[site].estimator}, p(z_j) {p[site].estimator}"
        dataset[f"dimwise_kl{suffix}"].attrs["estimator"] = said
    dataset["total_correlation"].attrs["estimator"] = "; ".join(
        sorted({f"q(z_j) {units.estimator}" for units in q.values()})
    )
    log_n, margin = dataset["log_n"].item(), (dataset["log_n"] - dataset["mutual_information"]).item()
    if not margin < MARGIN:
        return dataset
    reason = (
        f"mutual_information is {margin:.2f} nats below its ceiling log N = {log_n:.2f}, closer than {MARGIN:g}: "
        f"{round(math.exp(log_n))} data are too few for the KL of q(z); give more, or see dimwise_kl and p_value"
    )
    for name in REFUSED:
        dataset[name].attrs["reason"] = reason
    dataset["mutual_information"].attrs["reason"] = f"a lower bound of that of endless data: {reason}"
    return dataset.assign_attrs(reason=reason)


def _suffixes(by_site: _BySite) -> dict[str, str]:
    """Suffix of a site's variables by site; empty if there is one site."""
    return {site: f"_{site}" if len(by_site) > 1 else "" for site in by_site}


def _with_error(name: str, dims: tuple[str, ...], values: Tensor) -> _Variables:
    """The mean over draws, and its standard error."""
    mcse = values.std(0) / len(values) ** 0.5
    return {name: (dims, values.mean(0), "nats"), f"{name}_mcse": (dims, mcse, "nats")}


_CANNOT_SEE = (
    "Whether q(z | x) is close to p(z | x), or what the decoder makes of z; and, but by the energy test, places where "
    "p(z) has mass and q(z) none, which cost the KL from q(z) little."
)


def _told(_: Subject, results: Results) -> list[str]:
    found = results["aggregated_posterior"]
    p, kl = float(found["p_value"]), float(found["marginal_kl"])
    verdict = "q(z) can be told from p(z)" if p < 0.05 else "q(z) cannot be told from p(z)"
    mean_kl = f"{float(found['mean_kl']):z.2f} nats of the mean KL to the prior"
    split = (
        f"of {mean_kl} {float(found['mutual_information']):z.2f} are information on x and {kl:z.2f} are the "
        "difference between q(z) and p(z)"
        if np.isfinite(kl)
        else f"how many of the {mean_kl} are a mismatch is not known"
    )
    reason = found.attrs.get("reason", "")
    return [
        f"{verdict} by draws (energy distance, {p_value(p)}); {split}.",
        *([f"Why: {reason}."] if reason and not np.isfinite(kl) else []),
    ]


def _figures(subject: Subject, results: Results) -> Iterator[Figure]:
    with evaluating(subject.program, subject.options["seed"]):
        ((_, joint),) = log_joints(subject.program, subject.data, 1, max_rows=len(subject.data))
        num = -(-5000 // len(subject.data))
        z_q, z_p = (z.flatten(0, 1).cpu() for z in (joint.from_guide(num), joint.from_prior(num)))
    yield one_panel("aggregate_marginals", "aggregate_marginals", z_q, z_p)


AGGREGATED_POSTERIOR = Diagnostic(
    name="aggregated_posterior",
    question="Does q(z) fill p(z)?",
    answers="`aggregated_posterior`",
    reading="Of the KL, how much is information on x and how much a mismatch; NaN, and why, where log N is too near",
    run=lambda subject, _: aggregated_posterior(subject.program, subject.data, **subject.options),
    verdict=_told,
    figures=_figures,
)
