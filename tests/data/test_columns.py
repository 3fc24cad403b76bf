"""Domains by column, and standardization of tables."""

import json
import math
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ppl_vae import DataSpec, Domain, Gamma, Gaussian, Heterogeneous, build, compare, evaluate
from ppl_vae.data import Split, again, from_arrays, from_frame, load
from ppl_vae.evaluation.per_column import column_names
from ppl_vae.vae.build import rebuild

MIXED = Domain(
    ("real", "categories", "counts", "positive", "binary", "levels", "unit"), (None, 5, None, None, None, 3, None)
)
ROW = torch.tensor([-7.5, 4.0, 12.0, 0.25, 1.0, 2.0, 1.0])


def table(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 3)) * [1.0, 30.0, 0.5] + [5.0, -200.0, 0.0]).astype(np.float32)


def test_each_column_has_its_values():
    assert MIXED.contains(ROW[None])
    wrong = torch.tensor([math.nan, 5.0, 1.5, 0.0, 2.0, 3.0, 1.01])
    for j, value in enumerate(wrong):
        x = ROW[None].repeat(3, 1)
        x[1, j] = value
        assert not MIXED.contains(x)
        assert MIXED.outside(x).nonzero().tolist() == [[1, j]]
        assert MIXED.contains(x, MIXED.outside(x).logical_not())
        assert not MIXED.columns(7)[j].contains(x[:, j])
    assert Domain("positive").contains(torch.tensor([1e-30]))
    assert not Domain("positive").contains(torch.zeros(1))
    assert Domain("categories", 3).contains(torch.tensor([0.0, 2.0]))
    assert Domain("categories", 3).discrete


def test_tuples_of_equal_values_are_one_value():
    assert Domain(["real"] * 3, span=[2.0] * 3) == Domain("real", span=2.0)
    assert Domain("real", span=np.array([1.0, 2.0])).span == (1.0, 2.0)
    assert hash(MIXED) == hash(Domain(**json.loads(json.dumps(vars(MIXED)))))
    assert Domain(**json.loads(json.dumps(vars(MIXED)))) == MIXED
    assert MIXED.described == "real, 5 categories, counts, positive, binary, 3 levels and unit"
    assert Domain("levels", (3, 4)).described == "levels"
    assert (MIXED.discrete, MIXED.countable, Domain(("unit", "counts"), (256, None)).countable) == (False, False, True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_raw_and_rescaled_are_inverse_by_column(dtype):
    raw = torch.from_numpy(table()).to(dtype)
    loc, scale = (1.0, -3.0, 0.0), (0.5, 40.0, 2.0)
    once = Domain("real").rescaled(loc, scale, kind="real")
    x = (raw - raw.new_tensor(loc)) / raw.new_tensor(scale)
    assert once.raw(x).dtype == dtype
    assert torch.allclose(once.raw(x), raw, rtol=1e-5)
    twice = once.rescaled(0.5, 0.1, kind="real")
    assert torch.allclose(twice.raw((x - 0.5) / 0.1), raw, rtol=1e-4)
    assert np.allclose(twice.log_volume, np.log(0.1) + np.log(scale))
    assert once.raw(torch.zeros(2, 3, dtype=torch.int64)).tolist() == [list(loc)] * 2


def test_log_volume_sums_over_what_was_observed():
    domain = Domain(("real", "binary", "positive"), span=(10.0, 3.0, 0.5))
    assert domain.log_volume == (math.log(10), 0.0, math.log(0.5))  # a mass has no units
    mask = torch.tensor([[True, True, True], [True, False, False], [False, True, False]])
    split = Split(torch.ones(3, 3), torch.arange(3), domain)
    assert split.log_volume.tolist() == pytest.approx([math.log(5)] * 3)
    assert replace(split, mask=mask).log_volume.tolist() == pytest.approx([math.log(5), math.log(10), 0])


def test_columns_are_standardized_each():
    x = table()
    data = from_arrays(x, mask=np.random.default_rng(1).random(x.shape) > 0.3).standardize()
    raw = from_arrays(x, mask=np.random.default_rng(1).random(x.shape) > 0.3)
    for j in range(3):
        column = data.train.x[:, j][data.train.mask[:, j]].double()
        assert (float(column.mean()), float(column.std(correction=0))) == pytest.approx((0, 1), abs=1e-5)
    assert not data.train.x[~data.train.mask].any()
    observed = raw.test.mask
    assert torch.allclose(data.domain.raw(data.test.x)[observed], raw.test.x[observed], rtol=1e-4, atol=1e-4)
    (step,) = data.provenance["transforms"]
    assert (step["per"], len(step["loc"])) == ("column", 3)
    assert json.loads(json.dumps(step)) == step
    one = raw.standardize(per="all")
    assert (one.domain.num_columns, one.provenance["transforms"][0].keys()) == (
        None,
        {"transform", "loc", "scale", "seed"},
    )
    assert one.test.identity == data.test.identity == raw.test.identity


def test_only_continuous_columns_are_standardized():
    rng = np.random.default_rng(0)
    n = 100
    x = np.stack(
        [rng.normal(3, 2, n), rng.integers(0, 4, n), np.exp(rng.normal(5, 1, n)), np.full(n, 7.0), rng.random(n)], 1
    )
    missing = np.ones((n, 6), dtype=bool)
    missing[:, 5] = False
    kinds = ("real", "categories", "positive", "real", "unit", "real")
    domain = Domain(kinds, (None, 4, None, None, None, None))
    data = from_arrays(np.c_[x, np.zeros(n)], mask=missing, domain=domain).standardize()
    assert data.domain.kind == ("real", "categories", "positive", "real", "unit", "real")
    assert torch.equal(data.test.x[:, 1], data.test.x[:, 1].round())
    assert float(data.train.x[:, 2].log().mean()) == pytest.approx(0, abs=1e-5)
    assert not data.train.x[:, 3].any()
    assert "; column 1 discrete, as before; column 3 constant, only shifted; column 5 without an obs" in repr(data)
    with pytest.raises(ValueError, match=r"that are all real, unit, or all positive, got real, 4 categ.*per='col"):
        from_arrays(np.c_[x, np.zeros(n)], mask=missing, domain=domain).standardize(per="all")
    with pytest.raises(ValueError, match="unit or real data, got binary, counts"):
        from_arrays(np.ones((30, 2)), domain=Domain(("binary", "counts"))).standardize()


def test_a_table_that_is_standardized_already_stays_so():
    """Ones of mean 0 and sd 1, zeros and ones among numbers, and a constant that float32 does not hold."""
    rng = np.random.default_rng(0)
    x = np.c_[rng.normal(5, 3, 200), rng.random(200) < 0.3, np.full(200, 0.1)]
    once = from_arrays(x, domain=Domain("real")).standardize()
    twice = once.standardize()
    assert torch.allclose(twice.train.x, once.train.x, atol=1e-6)
    assert float(once.train.x[:, 1].mean()) == pytest.approx(0, abs=1e-6)
    assert not once.train.x[:, 2].any()
    assert torch.allclose(twice.domain.raw(twice.test.x), torch.from_numpy(x)[once.test.index].float(), atol=1e-5)


def test_positive_images_are_scaled_by_one_number():
    x = np.exp(np.random.default_rng(0).normal(2, 1, (50, 1, 3, 3)))
    data = from_arrays(x, domain=Domain("positive")).standardize()
    assert (data.domain.kind, data.domain.shift) == ("positive", 0.0)
    assert float(data.train.x.log().mean()) == pytest.approx(0, abs=1e-5)


def test_a_wrong_value_is_named_by_its_column():
    x = np.tile(ROW.numpy(), (30, 1))
    x[3, 1] = 9
    with pytest.raises(ValueError, match=r"categories values \(0 to 4\) in column 1, got values from 4 to 9"):
        from_arrays(x, domain=MIXED)
    with pytest.raises(ValueError, match="a domain of 7 columns expects x with as many in its last dimension, got 3"):
        from_arrays(x[:, :3], domain=MIXED)


def test_recorded_steps_are_taken_again(tmp_path):
    np.savez(tmp_path / "x.npz", x=table())
    for per in ("column", "all"):
        data = load(tmp_path / "x.npz").standardize(per=per)
        found = again(json.loads(json.dumps(data.provenance)))
        assert (found.checksum, found.domain) == (data.checksum, data.domain)


def test_runs_standardized_otherwise_are_compared_in_raw_units():
    raw = from_arrays(table(), domain=Domain("real"))
    results = {}
    for name, data in {"column": raw.standardize(), "all": raw.standardize(per="all")}.items():
        vae = build(data, latent_dim=2, likelihood=Gaussian, seed=0)
        with torch.no_grad():
            for p in vae.likelihood.net.parameters():
                p.zero_()
            vae.likelihood.raw_scale.fill_(0.5)
            scale = float(vae.likelihood.elementwise(torch.zeros(1)).scale)
        results[name] = evaluate(vae, data.test, num_samples=30, seed=0)
        span, shift = (np.broadcast_to(v, 3) for v in (data.domain.span, data.domain.shift))
        exact = stats.norm(shift, scale * span).logpdf(raw.test.x.numpy()).sum(1)
        assert np.allclose(results[name].per_datum["reconstruction"], exact, rtol=1e-4)
    assert compare(results).index[0] == "column"


def test_recipes_keep_domains_by_column():
    domain = Domain("real", shift=(0.0, 1.0, 2.0), span=(1.0, 2.0, 3.0))
    vae = build(DataSpec((3,), domain), latent_dim=2, seed=0)
    stored = json.loads(json.dumps(vae.recipe))
    assert rebuild(stored).recipe == stored
    assert vae.raw(torch.ones(1, 3)).tolist() == [[1.0, 3.0, 5.0]]


def test_columns_on_different_scales_are_warned_of():
    x = from_arrays(table() * [1.0, 100.0, 1.0], domain=Domain("real"))
    with pytest.warns(UserWarning, match=r"ranges from \S+ \(column [02]\) to .* \(column 1\).*data\.standardize\(\)"):
        build(x, latent_dim=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(x.standardize(), latent_dim=2)
        build(from_arrays(table() * [1.0, 0.5, 0.0], domain=Domain("real")), latent_dim=2)


ROWS = np.arange(200)
TABLE = pd.DataFrame(
    {
        "income": np.exp(np.sin(ROWS) * 8 + 9),
        "temperature": np.cos(ROWS),
        "share": 0.5 + np.sin(2 * ROWS) / 1e4,
        "constant": 1000 + np.cos(5 * ROWS) / 100,
    }
)
POSITIVE, UNIT, LOG = {"income": "positive"}, {"share": "unit"}, "take the logarithm of column 'income', as a real"
REAL = "give column '{}' the kind 'real', as which it is standardized"


@pytest.mark.parametrize(
    ("names", "kinds", "how", "likelihood", "advice"),
    [
        (
            "income temperature",
            {},
            None,
            None,
            r"column 'temperature'\) to .* \(column 'income'\).*data.standardize\(\)$",
        ),
        ("income temperature", {}, "all", None, r"data.standardize\(per='column'\)$"),
        ("income temperature", POSITIVE, None, Gamma, r"data.standardize\(\)$"),
        ("income temperature", POSITIVE, "column", Gamma, LOG),
        ("share temperature", UNIT, None, None, r"data.standardize\(\)$"),
        ("share temperature", UNIT, "column", None, REAL.format("share")),
        (
            "share income",
            UNIT | POSITIVE,
            "column",
            None,
            r"\(the logarithm of column 'income'\).*" + REAL.format("share"),
        ),
        ("constant temperature", {"constant": "positive"}, "column", None, REAL.format("constant")),
    ],
)
@pytest.mark.parametrize("seed", [None, 0])
def test_advice_on_scales_helps(names, kinds, how, likelihood, advice, seed):
    data = from_frame(TABLE[names.split()], kinds=kinds)
    data = data if how is None else data.standardize(per=how)
    parts = {} if likelihood is None else {"likelihood": partial(Heterogeneous, columns={"income": likelihood})}
    with pytest.warns(UserWarning, match=advice) as caught:
        build(data, latent_dim=2, seed=seed, **parts)
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]


def test_a_value_far_from_the_others_is_warned_of_after_standardizing():
    rows = np.arange(60_000)
    x = np.stack([np.where(rows % 2, 1.0, -1.0), np.where(rows == 7, 1e6, np.sin(rows))], 1)
    data = from_arrays(x, x_validation=x[:9], x_test=x[:9], domain=Domain("real")).standardize()
    with pytest.warns(
        UserWarning, match=r"correct values of column 1 that are far from the others, or take np.arcsinh"
    ):
        build(data, latent_dim=2)


def test_positive_columns_are_compared_by_their_logarithms():
    data = from_frame(TABLE[["income", "temperature"]], kinds=POSITIVE)
    build(data, latent_dim=2)
    build(data.standardize(), latent_dim=2)


def test_raw_values_of_columns_keep_the_precision_of_x():
    domain = Domain("real", shift=(0.1, 0.2), span=(1 / 3, 2 / 3))
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert domain.raw(x).tolist() == [[1 / 3 + 0.1, 2.0 * (2 / 3) + 0.2]]


def test_levels_of_a_frame_are_grades_and_no_grey_levels():
    grades = pd.Categorical(["no", "yes", "maybe"] * 10, ["no", "maybe", "yes"], ordered=True)
    data = from_frame(pd.DataFrame({"a": grades, "b": grades[::-1]}))
    assert list(data.columns.table["likelihood"]) == ["OrderedLogistic"] * 2
    assert build(data, latent_dim=1).likelihood.settings() == "OrderedLogistic: a, b"


def test_scores_of_a_frame_are_named_by_its_columns():
    data = from_frame(pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"]))
    assert column_names(build(data, latent_dim=1), data.test) == ("a", "b")
    assert column_names(build(data, latent_dim=1), Split.of(data.test.x)) == ("0", "1")
