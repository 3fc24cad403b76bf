"""Imputations against the exact conditionals of linear models and of mixtures, for every kind of data; refusals."""

from functools import partial

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from small_models import SMALL, flow, hierarchy, ppca, two_sites
from torch import nn

from ppl_vae import (
    DataSpec,
    Domain,
    Gaussian,
    Heterogeneous,
    Program,
    build,
    data,
    distributions,
    fit,
    impute,
    likelihoods,
    posteriors,
)
from ppl_vae.data import Split
from ppl_vae.evaluation import imputation_scores

quiet = partial(impute, progress=False)


class _Linear(nn.Module):
    """x = W z + e, e ~ N(0, C), with q(z | x_observed) `scale` times as wide as the exact posterior."""

    def __init__(self, weight, noise, of_x, scale=1.2):
        super().__init__()
        self.weight, self.noise, self.of_x, self.scale = weight, noise, of_x, scale

    def model(self, x, mask=True):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.weight.shape[1]), 1.0).to_event(1))
            pyro.sample("x", self.of_x(z @ self.weight.T, mask), obs=x)

    def guide(self, x, mask=True):
        seen = torch.as_tensor(mask).expand(x.shape)
        gain = torch.zeros(len(x), *self.weight.T.shape, dtype=x.dtype)
        for i, row in enumerate(seen):
            o = row.nonzero().flatten()
            W = self.weight[o]
            gain[i, :, o] = torch.linalg.solve(W @ W.T + self.noise[o][:, o], W).T
        loc = (gain @ torch.where(seen, x, 0.0).unsqueeze(-1)).squeeze(-1)
        covariance = torch.eye(self.weight.shape[1], dtype=x.dtype) - gain @ self.weight
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.MultivariateNormal(loc, self.scale**2 * 0.5 * (covariance + covariance.mT)))


def Linear(*args):  # noqa: N802
    """`_Linear` as a program."""
    made = _Linear(*args)
    return Program(made.model, made.guide)


def independent(loc, mask):
    return dist.Normal(loc, 0.5).mask(mask).to_event(1)


FACTOR = torch.tensor([[0.8, 0, 0, 0, 0], [0.5, 0.4, 0, 0, 0], [0, 0.3, 0.5, 0, 0], [0.2, 0, 0, 0.6, 0], [0.4] * 5])
RANK = FACTOR[:, :1].double()


def correlated(loc, mask):
    return distributions.CorrelatedNormal(loc, FACTOR.to(loc)).observed(mask)


def low_rank(loc, mask):
    return distributions.LowRankNormal(loc, RANK.to(loc), loc.new_full((5,), 0.5)).observed(mask)


NOISES = {
    independent: 0.25 * torch.eye(5).double(),
    correlated: (FACTOR @ FACTOR.T).double(),
    low_rank: RANK @ RANK.T + 0.25 * torch.eye(5).double(),
}


def exact(covariance, x, mask):
    """Mean and standard deviation of each element of x ~ N(0, covariance) given the observed ones of its row."""
    mean, sd = x.clone(), torch.zeros_like(x)
    for i, seen in enumerate(mask):
        o, m = seen.nonzero().flatten(), (~seen).nonzero().flatten()
        K = torch.linalg.solve(covariance[o][:, o], covariance[o][:, m]).T
        mean[i, m] = K @ x[i, o]
        sd[i, m] = (covariance[m][:, m] - K @ covariance[o][:, m]).diagonal().sqrt()
    return mean, sd


def gaps(x, share=0.4, seed=0):
    """A mask; of the first row nothing is known, and all of the second."""
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) > share
    mask[0], mask[1] = False, True
    return mask


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("of_x", NOISES)
def test_means_and_draws_are_those_of_the_exact_conditional(of_x, dtype):
    """Standard errors: of the mean over z that of S draws, of moments over the draws that of their number."""
    model, noise = ppca(n=40), NOISES[of_x]
    x, mask = model.x.to(dtype), gaps(model.x)
    program = Linear(model.weight.to(dtype), noise.to(dtype), of_x)
    found = quiet(program, x, mask=mask, num_samples=2000, num_draws=400, seed=0)
    mean, sd = exact(model.weight @ model.weight.T + noise, x.double(), mask)
    assert found.mean.dtype == found.draws.dtype == dtype
    errors = (found.mean - mean)[~mask] / sd[~mask], (found.draws.mean(0) - mean)[~mask] / sd[~mask]
    assert errors[0].abs().max() < 4.5 * 1.5 / 2000**0.5
    assert errors[1].abs().max() < 4.5 * 1.2 / 400**0.5
    assert (found.draws.std(0)[~mask] / sd[~mask] - 1).abs().max() < 4.5 * 1.2 / 800**0.5
    if of_x is correlated:  # draws are those of the whole row
        joint = found.draws[:, 0].T.double().cov()
        assert (joint - model.weight @ model.weight.T - noise).abs().max() < 4.5 * 10 / 400**0.5
    assert torch.equal(found.mean[mask], x[mask])
    assert torch.equal(found.draws[:, mask], x[mask].expand(400, -1))
    assert found.pareto_k.isnan().tolist() == mask.all(1).tolist() == found.ess.isnan().tolist()
    assert (found.pareto_k[0], found.ess[0]) == (0, pytest.approx(2000))
    assert found.unreliable == 0


def test_intervals_hold_the_truth_as_often_as_they_say():
    """As often for few draws as for many: 2,000 elements, standard error 0.5 %."""
    model = ppca(n=1000)
    mask = gaps(model.x)
    program = Linear(model.weight, NOISES[independent], independent)
    x = torch.where(mask, model.x, 0.0)
    for num in (39, 100):
        found = quiet(program, x, mask=mask, num_samples=100, num_draws=num, seed=1)
        scores = imputation_scores(found, model.x)
        assert scores.loc["all", "elements"] == (~mask).sum()
        assert abs(scores.loc["all", "coverage"] - 0.95) < 0.02
        assert abs(imputation_scores(found, model.x, prob=0.5).loc["all", "coverage"] - 0.5) < 0.05
        assert abs(scores.loc["all", "coverage_randomized"] - scores.loc["all", "coverage"]) < 0.005  # no value ties
        error = ((found.mean - model.x)[:, 2][~mask[:, 2]]).square().mean().sqrt()
        assert scores.loc["2", "rmse"] == pytest.approx(float(error))
        assert scores.loc["2", "rmse_standardized"] == pytest.approx(float(error / model.x[:, 2].std(correction=0)))
    lower, upper = found.intervals(0.9)
    assert torch.equal(lower[mask], x[mask])
    assert torch.equal(upper[mask], x[mask])
    with pytest.raises(ValueError, match=r"intervals\(0.95\) expects at least 39 draws, got 38; impute again"):
        quiet(program, x[:3], mask=mask[:3], num_samples=30, num_draws=38).intervals()


def test_what_lies_under_the_mask_and_the_chunks_change_nothing():
    model = ppca(n=12)
    mask = gaps(model.x)
    program = Linear(model.weight, NOISES[independent], independent)
    first, second = (
        quiet(program, model.x.masked_fill(~mask, fill), mask=mask, num_samples=50, seed=3) for fill in (0.0, 1e6)
    )
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.draws, second.draws)
    other = quiet(program, model.x, mask=mask, num_samples=50, seed=4)
    assert not torch.equal(first.draws, other.draws)
    small = quiet(program, model.x, mask=mask, num_samples=2000, num_draws=2000, seed=3, max_rows=500)
    large = quiet(program, model.x, mask=mask, num_samples=2000, num_draws=2000, seed=4)
    assert ((small.mean - large.mean).abs() < 4.5 * 2**0.5 * 4 / 2000**0.5).all()


def test_a_bad_q_shows_in_k_hat():
    model = ppca(n=60)
    mask = gaps(model.x)
    found = quiet(Linear(model.weight, NOISES[independent], independent, 0.2), model.x, mask=mask, seed=0)
    assert found.unreliable > 0.5
    assert "; the others may be off" in repr(found)


def table(n=300):
    rng = np.random.default_rng(0)
    job = rng.integers(0, 3, n)
    return pd.DataFrame(
        {
            "income": np.where(job == 2, 9e4, 3e4) + rng.normal(0, 5e3, n),
            "rooms": rng.poisson(job + 1),
            "job": np.array(["clerk", "cook", "judge"])[job],
            "owner": rng.random(n) < np.array([0.1, 0.5, 0.9])[job],
        }
    )


def test_categories_get_the_most_probable_one_and_draws_are_categories():
    """One latent with the posterior in closed form: p(x_1 = k | x_0) of two categories by enumeration over a grid."""
    torch.manual_seed(0)
    domain = Domain("categories", 4)
    categorical = partial(likelihoods.Categorical, levels=4)
    vae = build(
        DataSpec((2,), domain), latent_dim=1, likelihood=categorical, decoder=SMALL, encoder=SMALL, seed=0
    ).double()
    with torch.no_grad():
        for parameter in vae.likelihood.parameters():
            parameter.mul_(3)
    x, mask = torch.tensor([[0.0, 0], [1, 0], [2, 0], [3, 0]]).double(), torch.tensor([[True, False]] * 4)
    found = quiet(vae, x, mask=mask, num_samples=4000, num_draws=4000, probabilities=True, seed=0)
    z = torch.linspace(-8, 8, 4001).double().unsqueeze(-1)
    with torch.no_grad():
        logits = vae.decode(z).base_dist.base_dist.logits  # (z, 2, 4)
    joint = torch.distributions.Normal(0, 1).log_prob(z) + logits[:, 0]  # (z, x_0)
    share = torch.einsum("za,zk->ak", joint.softmax(0), logits[:, 1].softmax(-1))  # (x_0, x_1)
    drawn = torch.stack([(found.draws[:, :, 1] == k).double().mean(0) for k in range(4)], -1)
    assert (drawn - share).abs().max() < 4.5 * 0.5 * 1.5 / 4000**0.5
    assert torch.equal(found.mean[:, 1], share.argmax(-1).double())
    off = (found.probabilities[:, 1] - share).abs()
    assert off.max() < 4.5 * 0.5 * 1.5 / 4000**0.5
    assert off.mean() < (drawn - share).abs().mean()  # of the draws of z alone
    assert found.probabilities[:, 0].isnan().all()
    assert quiet(vae, x, mask=mask, num_samples=25, num_draws=1, seed=0).probabilities is None
    lower, upper = found.intervals()
    assert lower[:, 1].isnan().all()
    assert upper[:, 1].isnan().all()
    assert torch.equal(lower[:, 0], x[:, 0])
    scores = imputation_scores(found, x)
    assert scores.loc["1", ["rmse", "coverage"]].isna().all()
    assert 0 <= scores.loc["1", "accuracy"] <= 1


@pytest.mark.parametrize("name", [n for n in likelihoods.__all__ if n not in ("Likelihood", "Rowwise")])
def test_every_likelihood(name):
    leaf = getattr(likelihoods, name)
    domain = Domain(leaf.kinds[0], 5 if leaf.kinds[0] in ("levels", "categories") else None)
    levels = {"levels": 5} if leaf.kinds[0] in ("levels", "categories") else {}
    spec = DataSpec((4,), domain)
    vae = build(spec, latent_dim=2, likelihood=partial(leaf, **levels), encoder=SMALL, decoder=SMALL, seed=0).double()
    x = vae.sample(8, seed=0).double()
    mask = gaps(x)
    found = quiet(vae, x.masked_fill(~mask, 0.0), mask=mask, num_samples=50, num_draws=40, seed=0)
    assert found.mean.isfinite().all()
    assert domain.contains(found.draws)
    assert torch.equal(found.mean[mask], x[mask])
    assert len(torch.unique(found.draws[:, ~mask].flatten(1), dim=0)) > 1


@pytest.mark.parametrize("case", [hierarchy, flow, two_sites])
def test_other_programs(case):
    program, x, *_ = case(6)
    mask = gaps(x)
    found = quiet(program, x, mask=mask, num_samples=50, num_draws=40, seed=0)
    assert found.mean.shape == x.shape
    assert torch.equal(found.mean[mask], x[mask])
    assert found.draws.shape == (40, *x.shape)
    assert found.pareto_k.isnan().tolist() == mask.flatten(1).all(1).tolist()


def test_a_discrete_latent_in_several_plates():
    """x_j = 4 z_j + e for independent signs z_1, z_2: a missing x_j has a mean of 0, seen or not the other."""

    def model(x, mask=True):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("unit", 2, dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.25))
            pyro.sample("x", dist.Normal(4 * z, 0.1).mask(mask), obs=x)

    def guide(x, mask=True):
        seen = torch.as_tensor(mask).expand(x.shape)
        with pyro.plate("data", len(x), dim=-2), pyro.plate("unit", 2, dim=-1):
            pyro.sample("z", dist.Bernoulli(torch.where(seen, (x > 2) * 0.98 + 0.01, 0.5)))

    x = torch.tensor([[4.0, 0.0], [0.0, 4.0], [0.0, 0.0], [4.0, 4.0]])
    mask = torch.tensor([[True, False], [False, True], [False, False], [True, True]])
    found = quiet(Program(model, guide), x, mask=mask, num_samples=2000, num_draws=2000, seed=0)
    assert (found.mean[~mask] - 1).abs().max() < 4.5 * 2 / 2000**0.5
    assert (found.draws.mean(0)[~mask] - 1).abs().max() < 4.5 * 2.5 / 2000**0.5
    assert found.pareto_k[:2].isnan().all()
    assert "no k-hat: the weights of a discrete q have no tail" in repr(found)


def test_tables_come_back_in_their_units_with_their_categories():
    frame = table()
    frame.loc[::5, "income"] = np.nan
    frame.loc[::7, "rooms"] = np.nan
    numbers = data.from_frame(frame[["income", "rooms"]], kinds={"rooms": "real"}).standardize(per="column")
    vae = build(numbers, latent_dim=1, likelihood=partial(Gaussian, scale="elementwise"), seed=0)
    found = quiet(vae, numbers.test, num_samples=50, seed=0)
    raw = found.raw
    assert torch.allclose(raw.mean, numbers.domain.raw(found.mean))
    assert raw.mean[:, 0].mean() > 1e4
    assert torch.equal(raw.raw.mean, raw.mean)
    made = found.to_frame()
    assert list(made) == ["income", "rooms"]
    assert made.notna().all(axis=None)
    assert made.index.tolist() == numbers.test.index.tolist()
    seen = numbers.test.mask.numpy()
    before = frame.loc[:, ["income", "rooms"]].to_numpy()[numbers.test.index][seen]
    np.testing.assert_allclose(made.to_numpy()[seen], before, rtol=1e-6, atol=1e-6)
    assert not found.to_frame(draw=3).equals(made)
    assert isinstance(found.completed(2), Split)


def test_mixed_columns_are_better_than_means_and_modes():
    """Income and rooms follow the job, and the job follows them: known values say much of those that are missing."""
    frame = table(800)
    gone = np.random.default_rng(1).random(frame.shape) < 0.25
    mixed = data.from_frame(frame.mask(gone), kinds={"job": "categories"}).standardize(per="column")
    names = [column.name for column in mixed.columns]
    vae = build(mixed, latent_dim=2, likelihood=Heterogeneous, encoder=SMALL, decoder=SMALL, seed=0)
    fit(vae, mixed, epochs=25, batch_size=64, optimizer=partial(torch.optim.Adam, lr=0.01), seed=0, progress=False)
    found = quiet(vae, mixed.train, num_samples=200, seed=0)
    made = found.to_frame()
    assert set(made["job"]) == {"clerk", "cook", "judge"}
    assert made["owner"].isin([True, False]).all()
    full = data.from_frame(frame, kinds=mixed.columns).train
    x = torch.stack([(c - s) / w for c, s, w in zip(full.x.T, mixed.domain.shift, mixed.domain.span, strict=True)], -1)
    scores = imputation_scores(found, x)
    assert list(scores.index) == [*names, "all"]
    assert scores.loc["income", "rmse_standardized"] < 0.8
    assert scores.loc["income", "rmse"] == pytest.approx(
        scores.loc["income", "rmse_standardized"] * frame["income"][found.index.numpy()].std(ddof=0), rel=1e-3
    )
    guess = max((full.x[:, names.index("job")] == k).double().mean() for k in range(3))
    assert scores.loc["job", "accuracy"] > guess + 0.15
    assert scores.loc[["rooms", "income"], "coverage"].min() > 0.85
    assert scores.loc["all", ["rmse"]].isna().all()


def test_nothing_missing_and_a_single_number_a_datum():
    model = ppca(n=5)
    found = quiet(model.vae, model.x, num_samples=30, num_draws=3, seed=0)
    assert torch.equal(found.mean, model.x)
    assert "0.0% of x missing; nothing to impute" in repr(found)
    with pytest.raises(ValueError, match="imputation_scores expects true values of imputed elements, got none"):
        imputation_scores(found, model.x)

    def model_of_one(x, mask=True):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0).mask(mask), obs=x)

    def guide_of_one(x, mask=True):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.where(torch.as_tensor(mask), x / 2, 0.0), 1.1))

    x = torch.tensor([1.0, 0.0, 3.0])
    found = quiet(Program(model_of_one, guide_of_one), x, mask=x > 0, num_draws=1000, seed=0)
    assert found.mean[[0, 2]].tolist() == [1.0, 3.0]
    assert found.draws[:, 1].var() == pytest.approx(2.0, abs=4.5 * 2 * (2 / 1000) ** 0.5)


def test_whole_numbers_and_no_mean():
    counts = torch.tensor([[3, 0], [2, 2**40]])
    mask = torch.tensor([[True, False], [True, True]])

    def model(x, mask=True):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            fn = dist.Cauchy(z.unsqueeze(-1).expand(*z.shape, x.shape[-1]), 1.0)
            pyro.sample("x", fn.mask(mask).to_event(1), obs=x)

    def guide(x, mask=True):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.5).expand([len(x)]))

    found = quiet(Program(model, guide), counts, mask=mask, num_samples=100, seed=0)
    assert found.mean[1].tolist() == [2, 2**40]
    assert found.mean[0, 1] == found.draws[:, 0, 1].nanmedian()


def test_refusals():
    model = ppca(n=4)
    mask = torch.tensor([[True, False, True, True, True]] * 4)
    with pytest.raises(
        ValueError, match=r"impute expects a result of at most 0\.00 GiB .* got 100 imputations of 4 data"
    ):
        quiet(model.vae, model.x, mask=mask, max_bytes=1000)
    point = build(DataSpec((5,), Domain("real")), latent_dim=2, posterior=posteriors.Point, seed=0)
    with pytest.raises(ValueError, match="impute expects a posterior and a prior with densities, got a point mass"):
        quiet(point, model.x.float(), mask=mask)

    def jointly(x, mask=True):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            loc = z.unsqueeze(-1).expand(*z.shape, 5)
            pyro.sample("x", dist.MultivariateNormal(loc, torch.eye(5).to(x)), obs=x)

    def guide(x, mask=True):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))

    with pytest.raises(ValueError, match=r"independent given z, or a Rowwise likelihood, got MultivariateNormal"):
        quiet(Program(jointly, guide), model.x, mask=mask, num_samples=30)
    found = quiet(model.vae, model.x, mask=mask, num_samples=30, seed=0)
    with pytest.raises(ValueError, match="draw expects a number from 0 to 99, got 100"):
        found.completed(100)
    with pytest.raises(ValueError, match=r"a truth of shape \(4, 5\), as what was imputed, got \(4, 4\)"):
        imputation_scores(found, model.x[:, :4])
    pictures = build(DataSpec((1, 4, 4), Domain("binary")), latent_dim=2, seed=0)
    made = quiet(pictures, torch.zeros(2, 1, 4, 4), mask=torch.rand(2, 1, 4, 4) < 0.5, num_samples=30, seed=0)
    with pytest.raises(ValueError, match="to_frame expects a table"):
        made.to_frame()
    assert list(imputation_scores(made, torch.zeros(2, 1, 4, 4)).index) == ["all"]
