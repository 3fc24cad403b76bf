"""Missing values: the mask as an input of the encoder, and what lies under it, which nothing reads."""

import json
import math
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from matrix import loss
from small_models import FixedCovariance, linear
from torch.testing import assert_close

from ppl_vae import (
    VAE,
    DataSpec,
    DiagonalNormal,
    Domain,
    Gaussian,
    Masking,
    StandardNormal,
    VampPrior,
    build,
    diagnose,
    diagnostics,
    evaluate,
    fit,
    fit_prior,
    load,
)
from ppl_vae.data import Split, from_arrays
from ppl_vae.diagnostics import group, groups, to_arviz
from ppl_vae.diagnostics.evidence.quadrature import quadrature
from ppl_vae.nets import MLP, ConvEncoder
from ppl_vae.objectives import IWAE
from ppl_vae.vae.build import rebuild

SMALL = partial(MLP, hidden_dims=[8])


def table(n=60, dim=4, share=0.4, seed=0, fill=0.0):
    """Correlated columns of which a share is missing, `fill` under the mask."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, dim)) + 0.3 * rng.normal(size=(n, dim)) + 3.0
    mask = rng.random(x.shape) >= share
    data = from_arrays(x, mask=mask, domain=Domain("real")).standardize()
    splits = {role: replace(s, x=s.x.masked_fill(~s.mask, fill)) for role, s in data.splits.items()}
    return replace(data, **splits)


def small(data, **parts):
    return build(data, **{"latent_dim": 2, "encoder": SMALL, "decoder": SMALL, "seed": 0, **parts})


def test_the_mask_is_an_input_where_data_have_one():
    data = table()
    vae = small(data)
    assert data.masked
    assert vae.formula().splitlines()[1] == "q(z | x, mask) = DiagonalNormal"
    assert vae.posterior.in_shape == (8,)
    again = rebuild(json.loads(json.dumps(vae.recipe)))
    assert (again.mask_input, repr(again)) == (True, repr(vae))
    without = small(data, mask_input=False)
    assert "mask" not in without.formula()
    assert "mask_input" not in without.recipe  # as older runs are stored
    assert not rebuild(without.recipe).mask_input
    assert not small(from_arrays(np.random.default_rng(0).normal(size=(50, 4)))).mask_input
    assert small(DataSpec((4,), Domain("real"), masked=True)).mask_input
    hierarchy = small(data, latent_dim=[2, 3])
    assert hierarchy.formula().endswith(
        "q(z2, z1 | x, mask) = DiagonalNormal(z2 | x, mask) DiagonalNormal(z1 | z2, x, mask)"
    )


def test_an_encoder_is_given_zeros_and_the_mask():
    data = table(fill=7.0)
    vae = small(data)
    seen = []
    vae.posterior.net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x, mask = data.test.x, data.test.mask
    vae.encode(x, mask=mask)
    assert seen[-1].equal(torch.cat([x * mask, (~mask).float()], 1))
    vae.encode(x)
    assert seen[-1].equal(torch.cat([x, torch.zeros_like(x)], 1))
    x, mask = torch.rand(5, 3, 6, 6), torch.rand(5, 3, 6, 6) > 0.5
    images = build(DataSpec((3, 6, 6), Domain("unit"), masked=True), latent_dim=2, encoder=ConvEncoder)
    images.posterior.net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images.encode(x, mask=mask)
    assert seen[-1].equal(torch.cat([x * mask, (~mask).float()], 1))


def test_pseudo_inputs_are_what_the_encoder_sees():
    data = table(fill=7.0)
    vae = small(data, prior=partial(VampPrior, num_components=5))
    x, mask = data.train.x[:5], data.train.mask[:5]
    assert vae.prior.pseudo_inputs.equal(torch.cat([x * mask, (~mask).float()], 1))
    fitted = fit_prior(small(data), data, partial(VampPrior, num_components=5), epochs=1, progress=False)
    assert fitted.prior.pseudo_inputs.shape == (5, 8)
    assert rebuild(json.loads(json.dumps(fitted.recipe))).prior.pseudo_inputs.shape == (5, 8)


CORRUPTED = {"corruption": partial(Masking, rate=0.5)}
PARTS = {"plain": {}, "pseudo-inputs": {"prior": partial(VampPrior, num_components=4)}, "corruption": CORRUPTED}


@pytest.mark.parametrize("name", PARTS)
def test_nothing_reads_what_lies_under_the_mask(name, tmp_path):
    """Not training, nor evaluation, nor a tree: bit for bit."""

    def all_of(fill):
        data = table(fill=fill)
        vae = small(data, **PARTS[name])
        history = fit(vae, data, epochs=2, seed=0, progress=False, objective=IWAE(3)).history
        tree = to_arviz(vae, data.test, num_samples=25, seed=0)
        draws = [
            group(tree, g)[v].values
            for g in groups(tree)
            if g not in ("observed_data", "constant_data")
            for v in group(tree, g).data_vars
        ]
        table_ = evaluate(vae, data.test, num_samples=30, seed=0, progress=False).per_datum
        x, mask = data.test.x, data.test.mask
        return [
            *(p.detach().numpy() for p in vae.parameters()),
            history.filter(regex="elbo|kl|rec|loss").to_numpy(),
            *draws,
            table_.to_numpy(),
            vae.reconstruct(x, mask=mask, seed=0).numpy(),
            vae.encode(data.test).mean.detach().numpy(),
        ]

    for a, b in zip(all_of(0.0), all_of(-5.5), strict=True):
        assert np.array_equal(a, b, equal_nan=True)


VERBS = {
    "hmc": partial(diagnostics.hmc, num_warmup=50, num_samples=50),
    "ais": partial(diagnostics.ais, num_temperatures=5),
    "inference_gaps": partial(diagnostics.inference_gaps, num_steps=5, num_samples=30),
    "quadrature_posterior": partial(diagnostics.quadrature_posterior, num_draws=50),
    "log_marginal_likelihood": diagnostics.log_marginal_likelihood,
    "diagnose": partial(diagnose, num_samples=25),
}


@pytest.mark.parametrize("name", VERBS)
def test_no_diagnostic_reads_what_lies_under_the_mask(name):
    def found(fill):
        data = table(fill=fill)
        made = VERBS[name](small(data), data.validation[:5], seed=0, progress=False)
        if name != "diagnose":
            return made
        return re.sub(r"about \d+ (second|minute|hour)s?", "", made.report())  # what was measured

    a, b = found(0.0), found(4.0)
    if name == "diagnose":
        assert a == b
        return
    trees = [{"": t} if isinstance(t, xr.Dataset) else {g: group(t, g) for g in groups(t)} for t in (a, b)]
    for name in trees[0].keys() - {"observed_data", "constant_data"}:
        assert trees[0][name].equals(trees[1][name]), name


def linear_vae(noise=0.5, dim=5, seed=1):
    """Probabilistic PCA with a standard normal q, and the covariance of x."""
    weight = torch.randn(dim, 2, generator=torch.Generator().manual_seed(seed)).double()
    likelihood = Gaussian(2, (dim,), linear(weight), scale=noise)
    q = FixedCovariance(torch.zeros(2, dim).double(), torch.eye(2).double(), 1.2, 0.0)
    vae = VAE(StandardNormal(2), likelihood, q).double()
    return vae, weight @ weight.T + noise**2 * torch.eye(dim).double()


def test_log_p_of_what_was_observed_is_the_exact_marginal():
    vae, covariance = linear_vae()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(12, 5, generator=g).double() @ torch.linalg.cholesky(covariance).T
    mask = torch.rand(12, 5, generator=g) > 0.4
    mask[0], mask[1] = False, True  # nothing, and everything
    exact = torch.stack(
        [
            dist.MultivariateNormal(torch.zeros(int(m.sum())).double(), covariance[m][:, m]).log_prob(row[m])
            if m.any()
            else torch.zeros(()).double()
            for row, m in zip(x, mask, strict=True)
        ]
    )
    split = Split(x.masked_fill(~mask, math.nan), torch.arange(12), mask=mask)
    found = quadrature(vae, split, seed=0, progress=False)
    assert_close(torch.from_numpy(found.log_px.values), exact, atol=1e-6, rtol=0)
    table_ = evaluate(vae, split, num_samples=4000, seed=0, progress=False).per_datum
    error = (table_.log_px - exact.numpy()).abs()
    assert (error <= 5 * table_.log_px_mcse + 1e-9).all()
    scaled = replace(split, domain=Domain("real", span=(1.0, 2.0, 0.5, 10.0, 3.0)))
    raw = quadrature(vae, scaled, seed=0, progress=False).log_px.values
    volume = (mask * torch.tensor([1.0, 2.0, 0.5, 10.0, 3.0]).double().log()).sum(1)
    assert_close(torch.from_numpy(raw), exact - volume, atol=1e-6, rtol=0)


@pytest.mark.parametrize("num", [1, 5])
def test_iwae_is_miwae(num):
    """The bound of Mattei and Frellsen (2019), arXiv:1812.02633: log mean_k p(x_observed | z_k) p(z_k) / q(z_k | x)."""
    data = table()
    vae = small(data).double()
    x, mask = data.train.x.double(), data.train.mask
    objective = IWAE(num)
    loss(vae, [x], objective, mask=mask)  # the first call draws once more, to count plates
    found = loss(vae, [x], objective, seed=3, mask=mask)
    torch.manual_seed(3)
    q = DiagonalNormal.distribution(vae.posterior, vae.posterior.net(torch.cat([x * mask, (~mask).double()], 1)))
    z = q.expand_by([num]).rsample()
    p_x = dist.Normal(vae.likelihood.net(z)[..., 0, :], vae.likelihood.elementwise(x).scale).log_prob(x)
    log_w = (p_x * mask).sum(-1) + dist.Normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z)
    assert_close(found, (math.log(num) - log_w.logsumexp(0)).sum(), rtol=1e-9, atol=0)


def test_masked_runs_are_stored_and_loaded(tmp_path):
    data = table()
    vae = small(data)
    fit(vae, data, epochs=1, seed=0, progress=False, run=tmp_path / "run")
    stored = load(tmp_path / "run").vae
    assert stored.mask_input
    assert stored.reconstruct(data.test, seed=0).equal(vae.reconstruct(data.test, seed=0))


def test_test_data_may_lack_a_column():
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    x_test[:, 1] = np.nan
    data = from_arrays(x, x_test=x_test)
    assert data.test.observed.all(0).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="an observed value in every column, got none in column 1"):
        from_arrays(x_test, x_test=x)
