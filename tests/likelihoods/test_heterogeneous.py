"""A likelihood for each column of a table."""

import copy
import json
import math
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from matrix import loss
from scipy import stats
from torch.testing import assert_close

from ppl_vae import (
    MLP,
    Bernoulli,
    Categorical,
    DataSpec,
    Domain,
    Gaussian,
    Heterogeneous,
    NegativeBinomial,
    VampPrior,
    build,
    compare,
    diagnose,
    evaluate,
    fit,
    load,
    to_arviz,
)
from ppl_vae.data import Split, from_arrays
from ppl_vae.distributions import positive
from ppl_vae.evaluation import per_column
from ppl_vae.support import check_values, filled, unwrapped
from ppl_vae.vae.build import rebuild

SMALL = partial(MLP, hidden_dims=[8])
KINDS = ("real", "categories", "counts", "real", "binary", "levels", "unit")
MIXED = Domain(KINDS, (None, 3, None, None, None, 4, None))
NAMES = ("age", "colour", "visits", "weight", "smokes", "grade", "share")


def rows(n=150, seed=0):
    """Columns that depend on one latent number."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    columns = [
        50 + 10 * z + rng.normal(size=n),
        np.digitize(z + 0.3 * rng.normal(size=n), [-0.5, 0.5]),
        rng.poisson(np.exp(1 + z)),
        0.01 * (-z + 0.2 * rng.normal(size=n)),
        rng.random(n) < 1 / (1 + np.exp(-3 * z)),
        np.digitize(z + 0.3 * rng.normal(size=n), [-1, 0, 1]),
        1 / (1 + np.exp(-z - 0.3 * rng.normal(size=n))),
    ]
    return np.stack(columns, 1).astype(np.float32)


def table(n=150, missing=0.0, fill=0.0):
    mask = np.random.default_rng(1).random((n, 7)) >= missing if missing else None
    data = from_arrays(rows(n), mask=mask, domain=MIXED, seed=0).standardize()
    if missing:
        made = {r: Split(s.x.masked_fill(~s.mask, fill), s.index, mask=s.mask) for r, s in data.splits.items()}
        return type(data)(data.name, **made, domain=data.domain, provenance=data.provenance)
    return data


def small(data, **parts):
    return build(data, **{"latent_dim": 2, "encoder": SMALL, "decoder": SMALL, "seed": 0, **parts})


def named(**settings):
    return partial(Heterogeneous, names=NAMES, **settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_prob_is_that_of_each_column(dtype):
    """Against scipy, on parameters as the decoder gives them; in the order of the columns."""
    x = torch.from_numpy(rows(20)).to(dtype)
    vae = small(DataSpec((7,), MIXED), likelihood=named(columns={"levels": Categorical})).to(dtype)
    z = torch.randn(20, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))
    p = vae.likelihood
    with torch.no_grad():
        flat = p.net(z)
        found = unwrapped(p.given(z)).log_prob(x).double().numpy()
        parts = dict(zip([g.columns for g in p.groups], flat.split(p._sizes, -1), strict=True))
        scale = positive(p.leaves[0].raw_scale).double().numpy()
    raw = {columns: part.double().numpy() for columns, part in parts.items()}
    x = x.double().numpy()
    assert [g.columns for g in p.groups] == [(0, 3), (1,), (2,), (4,), (5,), (6,)]
    expected = np.empty((20, 7))
    expected[:, [0, 3]] = stats.norm(raw[0, 3], scale).logpdf(x[:, [0, 3]])
    log_softmax = [v - np.logaddexp.reduce(v, -1, keepdims=True) for v in (raw[1,], raw[5,])]
    for j, logits in zip((1, 5), log_softmax, strict=True):
        expected[:, j] = np.take_along_axis(logits, x[:, j : j + 1].astype(int), -1)[:, 0]
    mean, size = (positive(torch.from_numpy(raw[2,][:, k])).numpy() for k in (0, 1))
    expected[:, 2] = stats.nbinom(size, size / (size + mean)).logpmf(x[:, 2])
    expected[:, 4] = stats.bernoulli(1 / (1 + np.exp(-raw[4,][:, 0]))).logpmf(x[:, 4])
    lam = raw[6,][:, 0]
    log_norm = np.log(2 * np.arctanh(np.tanh(lam / 2)) / np.tanh(lam / 2))  # arXiv:1907.06845, in logits
    expected[:, 6] = x[:, 6] * lam - np.logaddexp(0, lam) + log_norm
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-7, "atol": 1e-7}
    assert np.allclose(found, expected, **close)
    assert_close(
        p.given(z).log_prob(torch.from_numpy(x).to(dtype)).double(), torch.from_numpy(expected.sum(1)), **close
    )


def test_draws_and_moments_lie_in_their_columns():
    p = small(DataSpec((7,), MIXED)).double().likelihood
    z = torch.randn(3, 4, 2, dtype=torch.float64)
    fn = p.given(z)
    assert (fn.batch_shape, fn.event_shape) == ((3, 4), (7,))
    torch.manual_seed(0)
    x = fn.sample(torch.Size([20_000]))
    assert MIXED.contains(x.flatten(0, 2))
    assert fn.log_prob(x[:2]).isfinite().all()
    base = unwrapped(fn)
    error = (base.variance / len(x)).sqrt()
    assert ((x.mean(0) - base.mean).abs() < 5 * error).all()
    wide = base.expand([5, 3, 4, 7])
    assert wide.log_prob(x[:5]).equal(base.log_prob(x[:5]))
    assert not base.has_rsample


def test_the_encoder_sees_categories_one_hot_and_levels_scaled():
    vae = small(DataSpec((7,), MIXED))
    x = torch.from_numpy(rows(5))
    seen = vae.likelihood.standardize(x)
    assert seen.shape == (5, *vae.likelihood.seen_shape) == (5, 9)
    assert vae.posterior.in_shape == (9,)
    assert seen[:, :2].equal(x[:, [0, 3]])
    assert seen[:, 2:5].equal(torch.eye(3)[x[:, 1].long()])
    assert_close(seen[:, 5:], torch.stack([x[:, 2].log1p(), x[:, 4], x[:, 5] / 3, x[:, 6]], 1))
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[:, 1] = False
    assert vae.likelihood.seen_mask(mask).tolist() == [[True] * 2 + [False] * 3 + [True] * 4] * 5
    with_mask = small(DataSpec((7,), MIXED, masked=True))
    assert with_mask.posterior.in_shape == (16,)


@pytest.mark.parametrize("prior", [{}, {"prior": partial(VampPrior, num_components=4)}])
def test_what_is_missing_counts_for_nothing(prior):
    found = []
    for fill in (0.0, 1.0):
        data = table(missing=0.3, fill=fill)
        vae = small(data, **prior)
        fit(vae, data, epochs=2, seed=0, progress=False)
        result = evaluate(vae, data.test, num_samples=30, seed=0, progress=False)
        found.append([*(p.detach() for p in vae.parameters()), torch.tensor(result.per_datum.to_numpy())])
    for a, b in zip(*found, strict=True):
        assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    vae, x = small(table()).double(), table().test.x.double()
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > 0.4
    fn = vae.likelihood.given(torch.zeros(len(x), 2).double())
    each = unwrapped(fn).log_prob(x)
    masked = vae.likelihood.given(torch.zeros(len(x), 2).double(), mask=mask)
    assert_close(masked.log_prob(filled(x, mask, masked)), (each * mask).sum(1))
    gradients = torch.autograd.grad(masked.log_prob(filled(x, mask, masked)).sum(), list(vae.likelihood.parameters()))
    assert all(g.isfinite().all() for g in gradients)


def test_build_takes_it_for_mixed_columns():
    first = small(table()).formula().splitlines()[0]
    assert first.endswith(
        "Heterogeneous(x | z; Gaussian: 0, 3; Categorical: 1; NegativeBinomial: 2; Bernoulli: 4; OrderedLogistic: 5; "
        "ContinuousBernoulli: 6)"
    )
    assert type(small(DataSpec((2,), Domain("categories", 3))).likelihood) is Heterogeneous
    assert type(small(DataSpec((2,), Domain("levels", (3, 4)))).likelihood) is Heterogeneous
    assert type(small(DataSpec((2,), Domain("real", span=(1.0, 2.0)))).likelihood) is Gaussian


def test_columns_are_chosen_by_name_or_kind():
    chosen = {"age": partial(Gaussian, scale=0.5), "levels": Categorical, "grade": Categorical, "smokes": Categorical}
    vae = small(DataSpec((7,), MIXED), likelihood=named(columns=chosen))
    groups = zip(vae.likelihood.groups, vae.likelihood.leaves, strict=True)
    kinds = {NAMES[group.columns[0]]: leaf for group, leaf in groups}
    assert kinds["age"].scale == 0.5
    assert kinds["weight"].scale == "elementwise"
    assert (type(kinds["smokes"]), kinds["smokes"].levels) == (Categorical, 2)
    again = rebuild(json.loads(json.dumps(vae.recipe)))
    assert repr(again) == repr(vae)
    assert again.likelihood.names == NAMES
    again.load_state_dict(vae.state_dict())
    x = torch.from_numpy(rows(5))
    assert loss(again, [x]) == loss(vae, [x]) == loss(copy.deepcopy(vae), [x])


def test_a_column_named_as_a_kind_is_not_the_kind():
    table = Domain(("real", "counts", "real"), span=(1.0, 1.0, 2.0))
    kinds = {"names": ("real", "counts", "income"), "columns": {"real": partial(Gaussian, scale=0.5)}}
    made = Heterogeneous(2, (3,), SMALL, domain=table, **kinds)
    scales = {made.names[j]: leaf for g, leaf in zip(made.groups, made.leaves, strict=True) for j in g.columns}
    assert scales["real"].scale == 0.5
    assert scales["income"].scale == "elementwise"
    with pytest.raises(ValueError, match=r"a likelihood of real values for column 'real', got NegativeBinomial"):
        Heterogeneous(2, (3,), SMALL, domain=table, names=kinds["names"], columns={"real": NegativeBinomial})


def test_a_recipe_keeps_the_groups_where_the_usual_likelihood_is_given_by_name():
    domain = Domain(("binary", "real", "binary"))
    likelihood = partial(Heterogeneous, names=("a", "b", "c"), columns={"c": Bernoulli, "b": partial(Gaussian)})
    vae = small(DataSpec((3,), domain), likelihood=likelihood)
    again = rebuild(json.loads(json.dumps(vae.recipe)))
    assert [g.columns for g in again.likelihood.groups] == [g.columns for g in vae.likelihood.groups] == [(0, 2), (1,)]
    again.load_state_dict(vae.state_dict())
    z = torch.randn(4, 2)
    assert again.decode(z).mean.equal(vae.decode(z).mean)


def test_every_parameter_has_a_gradient():
    vae, x = small(DataSpec((7,), MIXED)), torch.from_numpy(rows(30))
    loss(vae, [x]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


REFUSED = [
    ({"columns": {"colour": Gaussian}}, "a likelihood of categories values for column 'colour', got Gaussian of real"),
    ({"columns": {"size": Gaussian}}, r"by the name or kind of a column, got \['size'\]; the names are age, colour"),
    ({"names": ("a", "b")}, "expects 7 different names, one for each column, got 2"),
    ({"names": ("a",) * 7}, "got 7 of which 1 differ"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        small(DataSpec((7,), MIXED), likelihood=partial(Heterogeneous, **{"names": NAMES, **settings}))


def test_a_kind_without_a_usual_likelihood_asks_for_one(monkeypatch):
    monkeypatch.setattr("ppl_vae.likelihoods.heterogeneous._USUAL", {"real": Gaussian})
    with pytest.raises(ValueError, match=r"for column '1' of binary values, got none; give one: columns={'1'"):
        small(DataSpec((2,), Domain(("real", "binary"))))


def test_values_outside_a_support_are_named_by_column():
    vae = small(DataSpec((7,), MIXED))
    x = torch.from_numpy(rows(5))
    fn = vae.likelihood.given(torch.zeros(5, 2))
    check_values(fn, x)
    x[2, 4] = 0.5
    with pytest.raises(ValueError, match=r"column 4: Bernoulli expects x in {0, 1}, got values in \[0.5, 0.5\]"):
        check_values(fn, x)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[2, 4] = False
    check_values(fn, x, mask)
    x[0, 3] = math.nan
    with pytest.raises(ValueError, match="column 3: Normal expects real x, got NaN; fill them"):
        check_values(fn, x, mask)


def test_a_reconstruction_has_the_most_probable_category_and_the_mean_of_the_rest():
    data = table(missing=0.2)
    vae = small(data)
    with torch.no_grad():
        bias = [m for m in vae.likelihood.net.modules() if isinstance(m, torch.nn.Linear)][-1].bias
        start = vae.likelihood._sizes[0]  # the categories are the second group
        bias[start : start + 3] = torch.tensor([9.0, 0.0, 9.9])  # the mean code is about 1, the least probable
    assert (vae.reconstruct(data.test, seed=0)[:, 1] == 2).all()
    drawn = vae.sample(20, seed=0, mean=True)
    assert (drawn[:, 1] == 2).all()
    assert not (drawn[:, 5] == drawn[:, 5].round()).all()  # levels have an order, and a mean


def test_results_name_the_columns(tmp_path):
    data = table(missing=0.2)
    vae = small(data, likelihood=named())
    tree = to_arviz(vae, data.test, num_samples=25, seed=0)
    assert list(tree["observed_data"]["x"].coords["column"].values) == list(NAMES)
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "obs", "column")
    assert tree["constant_data"]["mask"].dims == ("obs", "column")
    assert tree["prior_predictive"]["x"].sel(column="age").size
    assert tree["posterior"].attrs["base_measure"] == "mixed (mass in columns 1 2 4 5, density in 0 3 6)"
    tree.to_netcdf(tmp_path / "tree.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert diagnose(vae, data.test, num_samples=25, seed=0, progress=False).report()


def test_runs_are_ranked_only_where_their_columns_agree(tmp_path):
    data = from_arrays(rows()[:, [0, 4]], domain=Domain(("real", "binary")), seed=0)
    results = {}
    for name, made in {"a": data.standardize(), "b": data}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vae = small(made)
        fit(vae, made, epochs=1, seed=0, progress=False, run=tmp_path / name)
        results[name] = evaluate(load(tmp_path / name).vae, made.test, num_samples=30, seed=0, progress=False)
        results[name].save(tmp_path / f"{name}.json")
    assert set(compare(results).index) == {"a", "b"}  # in raw units
    assert set(compare({n: tmp_path / f"{n}.json" for n in "ab"}).index) == {"a", "b"}
    counted = small(DataSpec((2,), Domain(("counts", "binary"))))
    other = evaluate(counted, data.test.x.round().abs(), num_samples=30, seed=0, progress=False)
    with pytest.raises(ValueError, match=r"one base measure, got a mixed .* for 'a' and a mass for 'c'"):
        compare({"a": results["a"], "c": other})


def test_scores_by_column_are_conditional_densities():
    """Of a linear Gaussian model: -log p(x_j | x_-j), in closed form and in raw units."""
    torch.manual_seed(0)
    domain = Domain("real", shift=(1.0, 0.0, -2.0), span=(10.0, 1.0, 0.1))
    likelihood = partial(Heterogeneous, columns={"real": partial(Gaussian, scale=0.6)}, names=("a", "b", "c"))
    vae = build(DataSpec((3,), domain), latent_dim=2, likelihood=likelihood, decoder=_Linear, encoder=SMALL).double()
    with torch.no_grad():
        weight, bias = vae.likelihood.net.layer.weight, vae.likelihood.net.layer.bias
        covariance = (weight @ weight.T + 0.36 * torch.eye(3)).numpy()
        x = torch.randn(40, 3).double() @ torch.linalg.cholesky(torch.from_numpy(covariance)).T + bias
    mask = torch.rand(40, 3) > 0.2
    mask[:, 0] |= ~mask.any(1)
    split = Split(x, torch.arange(40), domain, mask=mask)
    found = per_column(vae, split, num_samples=1000, seed=0, progress=False)
    centred, span = (x - bias).detach().numpy(), np.array(domain.span)
    for j, name in enumerate("abc"):
        exact = []
        for row, seen in zip(centred, mask.numpy(), strict=True):
            if seen[j]:
                others = np.flatnonzero(seen & (np.arange(3) != j))
                pull = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, j]) if len(others) else 0
                mean = row[others] @ pull if len(others) else 0.0
                var = covariance[j, j] - (covariance[others, j] @ pull if len(others) else 0.0)
                exact.append(-stats.norm(mean, np.sqrt(var)).logpdf(row[j]) + np.log(span[j]))
        assert found.observed[name] == len(exact)
        assert abs(found.nll[name] - np.mean(exact)) < 5 * found.nll_mcse[name]
        assert found.base_measure[name] == "density"
    one = per_column(vae, split, columns=["c"], num_samples=1000, seed=0, progress=False)
    assert one.nll["c"] == found.nll["c"]
    with torch.no_grad():
        vae.posterior.net.layers[-1].bias[:2] += 4  # a q beside the posterior, whose k-hat is high
    assert per_column(vae, split, columns=["c"], num_samples=60, seed=0, progress=False).unreliable["c"] > 0.5
    fitted = per_column(vae, split, columns=["c"], method="adaptive", num_samples=300, seed=0, progress=False)
    assert fitted.unreliable["c"] == 0
    assert abs(fitted.nll["c"] - found.nll["c"]) < 5 * np.hypot(fitted.nll_mcse["c"], found.nll_mcse["c"])
    with pytest.raises(ValueError, match="columns among a, b, c, or their positions, got"):
        per_column(vae, split, columns=["d"], num_samples=30, progress=False)


class _Linear(torch.nn.Module):
    def __init__(self, in_shape, out_shape):
        super().__init__()
        self.layer = torch.nn.Linear(in_shape[0], out_shape[0])

    def forward(self, z):
        return self.layer(z)


def test_exposures_reach_the_columns_that_take_them():
    leaf = named(columns={"visits": partial(NegativeBinomial, exposure=True)})
    vae = small(DataSpec((7,), MIXED, ((1,),)), likelihood=leaf)
    z = torch.zeros(4, 2)
    one, two = (unwrapped(vae.likelihood.given(z, torch.full((4, 1), e))).mean for e in (1.0, 1.0 + 1e-3))
    assert (one[:, 2] < two[:, 2]).all()
    assert Bernoulli is type(vae.likelihood.leaves[3])
