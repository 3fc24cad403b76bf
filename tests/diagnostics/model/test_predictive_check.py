"""Predictive checks: statistics against scipy, p-values against their distribution and against closed forms."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from scipy import sparse
from scipy.ndimage import label
from small_models import CASES, SMALL, conditional, diagonal, masked, ppca, two_modes
from torch.testing import assert_close

from ppl_vae import Domain, Flat, Gaussian, Point, Program, build, data
from ppl_vae.diagnostics import groups
from ppl_vae.diagnostics.model import statistics
from ppl_vae.diagnostics.model.predictive_check import posterior_predictive_check as check
from ppl_vae.diagnostics.model.statistics import suited
from ppl_vae.diagnostics.results.arviz_io import group
from ppl_vae.split import Split

KEPT = {"population": "prior_predictive", "datum": "posterior_predictive"}


def found(*args, **kwargs):
    return group(check(*args, **kwargs), "predictive_check")


def normal(scale=1.0, prior_scale=1.0):
    """x ~ N(z, scale^2) in three dimensions, with the exact posterior."""

    def model(x, mask=True):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), prior_scale).to_event(1))
            pyro.sample("x", dist.Normal(z, scale).mask(mask).to_event(1), obs=x)

    def guide(x, mask=True):
        precision = 1 / prior_scale**2 + 1 / scale**2
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / scale**2 / precision, precision**-0.5).to_event(1))

    return Program(model, guide)


# statistics


def test_statistics_are_scipys():
    x = torch.randn(7, 12).double().exp()
    seen = torch.rand(7, 12) < 0.6
    seen[:, :3] = True
    hidden = torch.where(seen, x, torch.nan)
    counts = torch.where(seen, torch.poisson(x), torch.nan)
    for i in range(7):
        row, k = hidden[i][seen[i]].numpy(), counts[i][seen[i]].numpy()
        for name, expected in {
            "mean": row.mean(),
            "sd": row.std(),
            "smallest": row.min(),
            "largest": row.max(),
            "skewness": scipy.stats.skew(row),
        }.items():
            assert getattr(statistics, name)(hidden, seen)[i].item() == pytest.approx(expected, rel=1e-12), name
        assert statistics.zeros(counts, seen)[i].item() == pytest.approx((k == 0).mean())
        if k.any():
            assert statistics.dispersion(counts, seen)[i].item() == pytest.approx(k.var(ddof=1) / k.mean())
    nothing = statistics.largest(x, torch.zeros_like(seen))
    assert nothing.isnan().all()


def test_edges_and_euler_of_images():
    x = torch.rand(40, 2, 6, 5).round().double()
    seen = torch.ones_like(x, dtype=torch.bool)
    pairs = [(x[..., 1:, :] - x[..., :-1, :]).abs(), (x[..., 1:] - x[..., :-1]).abs()]
    assert_close(statistics.edges(x, seen), sum(p.sum((1, 2, 3)) for p in pairs) / (2 * (5 * 5 + 6 * 4)))
    for image, value in zip(x, statistics.euler(x, seen), strict=True):
        pieces = sum(label(channel)[1] for channel in image.numpy())
        around = np.pad(image.numpy() == 0, ((0, 0), (1, 1), (1, 1)), constant_values=True)
        holes = sum(label(channel, structure=np.ones((3, 3)))[1] - 1 for channel in around)
        assert value == pieces - holes
    half = seen.clone()
    half[..., 3:] = False
    for f in (statistics.edges, statistics.euler):
        assert_close(f(torch.where(half, x, torch.nan), half), f(x[..., :3], seen[..., :3]))


@pytest.mark.parametrize(
    ("x", "domain", "names"),
    [
        (torch.rand(3, 1, 4, 4).round(), None, ["ink", "edges", "pieces_less_holes"]),
        (torch.rand(3, 1, 4, 4), Domain("unit"), ["ink", "edges", "contrast"]),
        (torch.tensor([[0.0, 3.0]]), None, ["mean", "largest", "dispersion", "zeros"]),
        (torch.tensor([[0.0, 1.0]]), Domain("counts"), ["mean", "largest", "dispersion", "zeros"]),
        (torch.tensor([[0.0, 1.0]]), Domain("binary"), ["mean"]),
        (torch.randn(3, 4), None, ["mean", "sd", "smallest", "largest", "skewness"]),
    ],
)
def test_statistics_suit_the_data(x, domain, names):
    assert list(suited(x, domain)) == names


# the population


def test_p_values_of_the_right_model_are_uniform():
    program, p = normal(), []
    for seed in range(100):
        x = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed)).double() * 2**0.5
        p.append(found(program, x, num_replicates=49, seed=seed, progress=False)["p_value"].values)
    p = np.stack(p)  # (100, statistics, 2), multiples of 1 / 100
    jitter = np.random.default_rng(0).uniform(-0.01, 0.01, p.shape)  # without ties p is (i + 1/2) / 50
    for s in range(p.shape[1]):
        for moment in range(2):
            assert scipy.stats.kstest(p[:, s, moment] + jitter[:, s, moment], "uniform").pvalue > 0.001


def test_a_misfit_shows_and_is_the_right_statistic():
    x = torch.randn(400, 3).double() * 3
    result = found(normal(), x, num_replicates=99, seed=0)
    p = result["p_value"]
    assert float(p.sel(statistic="sd", moment="mean")) == pytest.approx(0.5 / 100)
    assert float(p.sel(statistic="largest", moment="mean")) == pytest.approx(0.5 / 100)
    assert 0.01 < float(p.sel(statistic="skewness", moment="mean")) < 0.99
    rank = (result["replicated"] > result["observed"]).sum(("chain", "draw"))
    np.testing.assert_allclose(p, (rank + 0.5) / 100)
    np.testing.assert_allclose(result["p_value_mcse"], np.sqrt(p * (1 - p) / 99))
    assert float(result["observed"].sel(statistic="mean", moment="sd")) == pytest.approx(x.mean(1).std().item())


def test_ties_count_half():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample(
                "x", dist.Bernoulli(probs=torch.full_like(z, 0.5)[..., None].expand(*z.shape, 2)).to_event(1), obs=x
            )

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))

    result = found(Program(model, guide), torch.tensor([[0.0, 1.0]]), num_replicates=4000, seed=0)
    p = result["p_value"].sel(statistic="mean", moment="mean")  # above: 1/4, tied: 1/2
    assert float(p) == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
    assert result["p_value"].sel(moment="sd").isnull().all()  # one datum has no spread


def test_chunks_do_not_matter():
    x = torch.randn(30, 3).double()
    whole, parts = (found(normal(), x, num_replicates=60, seed=1, max_rows=rows) for rows in (10**6, 240))
    np.testing.assert_allclose(whole["observed"], parts["observed"], rtol=1e-12)
    spread = whole["replicated"].std("draw")
    assert (
        abs(whole["replicated"].mean("draw") - parts["replicated"].mean("draw")) < 5 * spread * (2 / 60) ** 0.5
    ).all()
    by_datum = [found(normal(), x, level="datum", num_replicates=9, max_rows=rows, seed=1) for rows in (10**6, 20)]
    np.testing.assert_allclose(by_datum[0]["observed"][:-1], by_datum[1]["observed"][:-1], rtol=1e-12)


@pytest.mark.parametrize("level", ["population", "datum"])
def test_masked_elements_are_never_counted(level):
    x, seen = torch.randn(10, 3).double(), torch.rand(10, 3) < 0.6
    seen[0] = False
    kwargs = {"level": level, "mask": seen, "num_replicates": 9, "seed": 0}
    a, b = (found(normal(), torch.where(seen, x, value), **kwargs) for value in (0.0, 1e6))
    if level == "population":  # q has seen the masked elements: this guide takes no notice of the mask
        for name in ("observed", "p_value"):
            np.testing.assert_array_equal(a[name], b[name])
    np.testing.assert_allclose(a["observed"][:5], b["observed"][:5])
    if level == "datum":
        assert a["p_value"].sel(obs=0)[:5].isnull().all()


@pytest.mark.parametrize("level", ["population", "datum"])
def test_replicates_have_the_context_of_their_datum(level):
    def model(x, at):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1e-3))
            pyro.sample("x", dist.Normal((at + z[..., None]).expand(*z.shape, 2), 1e-3).to_event(1), obs=x)

    def guide(x, at):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1e-3))

    at = torch.arange(12.0)[:, None].double()
    tree = check(
        Program(model, guide), at.expand(12, 2), at, level=level, num_replicates=5, num_kept=3, seed=0, max_rows=20
    )
    kept = group(tree, "prior_predictive" if level == "population" else "posterior_predictive")["x"]
    assert kept.dims == ("chain", "draw", "obs", "x_dim_0")
    assert kept.shape == (1, 3, 12, 2)
    np.testing.assert_allclose(kept, np.broadcast_to(at.expand(12, 2), kept.shape), atol=0.02)


# each datum


def test_realized_discrepancies_are_the_closed_form():
    m = ppca(n=40)
    result = found(m.vae, m.x, level="datum", num_replicates=2000, seed=0).sel(statistic="-log p(x | z)")
    z = dist.MultivariateNormal(m.mean, m.covariance).sample((4000,))
    squares = ((m.x - z @ m.weight.T) / 0.5).square().sum(-1)  # chi-square(5) for a replicate
    exact = scipy.stats.chi2.sf(squares, 5).mean(0)
    scores = (result["p_value"] - exact) / np.sqrt(exact * (1 - exact) / 2000)
    assert abs(scores).max() < 4.5
    assert 0.7 < scores.std() < 1.3
    normalizer = 5 * (np.log(0.5) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(result["observed"], squares.mean(0) / 2 + normalizer, rtol=0.1)


def test_p_values_of_each_datum_crowd_around_a_half():
    m = ppca(n=300)
    p = found(m.vae, m.x, level="datum", num_replicates=200, seed=0)["p_value"].sel(statistic="mean")
    assert abs(float(p.mean()) - 0.5) < 4 * 0.289 / 300**0.5
    assert float(p.std()) < 0.25  # 0.289 if they were uniform


# everything


@pytest.mark.parametrize("level", ["population", "datum"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_any_program(case, level, tmp_path):
    case = case()
    tree = check(*case.args, mask=case.mask, level=level, num_replicates=8, seed=0)
    result = group(tree, "predictive_check")
    assert result["p_value"].notnull().all()
    assert ((result["p_value"] > 0) & (result["p_value"] < 1)).all()
    assert result["observed"].attrs["units"] == "see coordinate units"
    assert result["units"].dims == ("statistic",)
    assert result.attrs["cannot_see"]
    assert {"prior_predictive" if level == "population" else "posterior_predictive", "observed_data"} <= set(
        groups(tree)
    )
    tree.to_netcdf(str(tmp_path / "check.nc"))
    again = found(*case.args, mask=case.mask, level=level, num_replicates=8, seed=0)
    np.testing.assert_array_equal(again["p_value"], result["p_value"])


def test_statistics_are_in_raw_units():
    grey = data.load("digits").dequantize().take(test=6)
    result = found(build(grey, latent_dim=2, likelihood=Gaussian, encoder=SMALL, decoder=SMALL), grey.test, seed=0)
    raw = grey.test.domain.raw(grey.test.fixed(0).x.double())
    assert float(result["observed"].sel(statistic="ink", moment="mean")) == pytest.approx(raw.mean().item())
    assert str(result["units"].sel(statistic="ink").item()) == "grey levels"
    assert list(result["statistic"].values) == ["ink", "edges", "contrast"]


def test_statistics_of_ones_own():
    mine = {"corner": lambda x, mask: x[:, 0, 0, 0]}
    case = diagonal()
    result = found(*case.args, statistics=mine, num_replicates=5, seed=0)
    assert list(result["statistic"].values) == ["corner"]
    assert float(result["observed"].sel(statistic="corner", moment="mean")) == pytest.approx(
        case.x[:, 0, 0, 0].mean().item()
    )
    with pytest.raises(ValueError, match=r"one number a datum of the statistic 'all', \(6,\), got \(6, 1, 4, 4\); sum"):
        check(*case.args, statistics={"all": lambda x, mask: x}, num_replicates=5)


def test_pictures_stay_within_their_bytes():
    case = diagonal()
    for limit, kept in ((case.x.nbytes * 2, 2), (0, 0)):
        tree = check(*case.args, num_replicates=5, max_bytes=limit, seed=0)
        assert ("observed_data" in groups(tree)) is bool(kept)
        if kept:
            assert group(tree, "prior_predictive").sizes["draw"] == kept


def test_an_autoencoder_has_reconstructions_only():
    digits = data.load("digits").binarize("threshold").take(test=5)
    vae = build(digits, latent_dim=2, prior=Flat, posterior=Point, encoder=SMALL, decoder=SMALL)
    with pytest.raises(ValueError, match=r"a prior to draw from, got an improper one \(Flat\) at 'z'; use another"):
        check(vae, digits.test)
    assert found(vae, digits.test, level="datum", num_replicates=5, seed=0)["p_value"].notnull().all()


def test_nothing_is_changed():
    case = masked()
    before = {name: value.clone() for name, value in case.program.state_dict().items()}
    state = torch.get_rng_state()
    case.program.train()
    check(*case.args, mask=case.mask, num_replicates=3)
    assert case.program.training
    assert torch.get_rng_state().equal(state)
    assert all(value.equal(before[name]) for name, value in case.program.state_dict().items())


def test_bad_calls():
    case = conditional()
    with pytest.raises(ValueError, match=r"level to be 'population' or 'datum', got 'both'; the default"):
        check(*case.args, level="both")
    with pytest.raises(ValueError, match="num_replicates to be a whole number from 1 on, got 0"):
        check(*case.args, num_replicates=0)
    for level in ("population", "datum"):
        with pytest.raises(ValueError, match="max_rows to be a whole number from 1 on, got 0"):
            check(*case.args, level=level, max_rows=0)
    with pytest.raises(ValueError, match="got none"):
        check(case.program, case.x[:0])
    with pytest.raises(TypeError, match="posterior_predictive_check expects a module"):
        check(object(), case.x)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])
            pyro.sample("y", dist.Normal(z, 1.0), obs=x[:, 1])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))

    for level in ("population", "datum"):
        with pytest.raises(ValueError, match=r"a model that observes x as it came, at a single site, got .*'x', 'y'"):
            check(Program(model, guide), torch.randn(5, 2), level=level)


@pytest.mark.parametrize("level", ["population", "datum"])
def test_data_that_are_bare_numbers(level):
    x = torch.linspace(0.5, 3, 10).double()
    result = found(two_modes(), x, level=level, num_replicates=20, seed=0)
    number = result.sel(statistic="mean")
    if level == "population":
        assert float(number["observed"].sel(moment="mean")) == pytest.approx(x.mean().item())
        assert number["p_value"].notnull().all()
    else:
        np.testing.assert_allclose(number["observed"], x)
        assert number["p_value"].notnull().all()
        assert result["p_value"].sel(statistic="skewness").isnull().all()  # a number has no shape


def test_one_datum_and_one_replicate():
    split = Split.of(torch.randn(1, 3).double())
    for level in ("population", "datum"):
        result = found(normal(), split, level=level, num_replicates=1, seed=0)
        assert set(np.unique(result["p_value"].values[~np.isnan(result["p_value"].values)])) <= {0.25, 0.75}


def test_columns_of_a_table_are_checked_each_by_itself():
    n = np.arange(200)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"income": rng.normal(40_000, 9_000, 200), "share": rng.uniform(size=200), "rooms": n % 4})
    frame["job"] = np.array(["cook", "clerk", "judge", "smith", "baker", "miller", "weaver"])[np.minimum(n % 16, 6)]
    frame.loc[::3, "income"] = None
    table = data.from_frame(frame, {"rooms": "counts"}).standardize()
    vae = build(table, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)
    result = found(vae, table.train, num_replicates=30, seed=0)
    names = result["statistic"].values.tolist()
    assert names[:3] == ["income", "share", "rooms"]
    assert len(names) == 3 + 5
    assert {"job = weaver", "job = cook"} <= set(names)
    assert result["units"].sel(statistic="rooms").item() == "counts"
    raw = frame.loc[table.train.index.numpy()]
    of_income = result["observed"].sel(statistic="income")
    assert float(of_income.sel(moment="mean")) == pytest.approx(raw["income"].mean(), rel=1e-5)
    assert float(of_income.sel(moment="sd")) == pytest.approx(raw["income"].std(), rel=1e-5)
    share = result["observed"].sel(statistic="job = weaver", moment="mean")
    assert float(share) == pytest.approx((raw["job"] == "weaver").mean())
    replicated = result["replicated"].sel(statistic="income", moment="mean")  # the marginals it starts at
    assert abs(float(replicated.mean()) - 40_000) < 3_000


def test_shares_are_of_the_categories_that_were_observed():
    jobs = pd.Categorical(["clerk", "judge", None, None] * 20, categories=["baker", "clerk", "judge"])
    table = data.from_frame(pd.DataFrame({"job": jobs, "age": np.random.default_rng(0).normal(size=80)}))
    vae = build(table, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)
    names = found(vae, table.train, num_replicates=5, seed=0)["statistic"].values.tolist()
    assert names == ["job = clerk", "job = judge", "age"]


def test_sparse_data_have_the_numbers_of_dense_ones():
    x = sparse.random(100, 5, density=0.4, format="csr", random_state=0)
    found = []
    for given in (x, x.toarray().astype("float32")):
        loaded = data.from_arrays(given, domain=Domain("real"), seed=0)
        vae = build(loaded, latent_dim=1, seed=0)
        found.append(group(check(vae, loaded.test, seed=0, progress=False), "predictive_check"))
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])
