import functools
import gzip
import http.server
import json
import math
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from scipy.stats import kstest

from ppl_vae._torchvision import torchvision
from ppl_vae.data import (
    NAMES,
    Data,
    Dequantize,
    Domain,
    SampleBinary,
    Split,
    Standardize,
    Threshold,
    again,
    from_arrays,
    from_file,
    load,
    read_images,
    small_sets,
    store,
    torchvision_sets,
)
from ppl_vae.data.parts import collect, whole
from ppl_vae.training.row_draws import RowDraws


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def grey(rng):
    x = rng.integers(0, 256, (60, 1, 4, 4)).astype(np.uint8)
    return from_arrays(x, np.arange(60) % 3, fractions=(0.5, 0.25, 0.25))


@pytest.fixture
def unit(rng):
    return from_arrays(rng.random((60, 5)))


def kind_of(*kinds):
    return type("Leaf", (), {"kinds": kinds})


def digest(data):
    return [split.checksum for split in data.splits.values()]


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Domain("binary"), [0.0, 1.0], [0.5]),
        (Domain("levels", levels=17), [0.0, 16.0], [17.0]),
        (Domain("levels", levels=17), [3.0], [3.5]),
        (Domain("unit"), [0.0, 0.3, 1.0], [1.1]),
        (Domain("counts"), [0.0, 1000.0], [-1.0]),
        (Domain("real"), [-7.3], [math.nan]),
        (Domain("real"), [0.0], [math.inf]),
    ],
)
def test_a_domain_knows_its_values(domain, inside, outside):
    assert domain.contains(torch.tensor(inside))
    assert not domain.contains(torch.tensor(inside + outside))


def test_a_domain_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"expects kind to be 'binary' or .* got 'grey'; choose"):
        Domain("grey")
    with pytest.raises(ValueError, match="at least 2 levels, got None; give their number"):
        Domain("levels")


def test_drawing_once_leaves_the_random_numbers_alone(grey):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    grey.binarize("static").train.fixed(1)
    grey.dequantize().standardize().hide(0.5)
    assert torch.equal(torch.rand(2), expected)


def test_data_say_what_they_are(grey):
    assert grey.x_shape == (1, 4, 4)
    assert grey.context_shapes == ()
    assert grey.classes == ("0", "1", "2")
    assert "30 + 15 + 15 data, x_shape=(1, 4, 4), 256 levels" in repr(grey)
    assert grey.train.x.dtype == torch.float32
    assert grey.train.provenance["split"] == "train"
    rows = torch.cat([split.index for split in grey.splits.values()])
    assert sorted(rows.tolist()) == list(range(60))


def test_splits_keep_names_of_labels_where_the_data_have_none(grey):
    named = {role: replace(split, classes=("cat", "dog", "cow")) for role, split in grey.splits.items()}
    assert {split.classes for split in replace(grey, **named).splits.values()} == {("0", "1", "2")}
    kept = replace(grey, classes=None, **named)
    assert {split.classes for split in kept.binarize().take(test=3).splits.values()} == {("cat", "dog", "cow")}


def test_splits_of_different_shapes_are_refused(grey):
    with pytest.raises(ValueError, match=r"one shape, got .* for test .* give all splits"):
        replace(grey, test=whole(torch.zeros(3, 2)))
    with pytest.raises(ValueError, match="non-empty splits"):
        replace(grey, validation=grey.validation[:0])


def test_binarize_static_is_fixed_by_its_seed(grey):
    a, b, c = (grey.binarize("static", seed=seed) for seed in (0, 0, 1))
    assert a.checksum == b.checksum
    assert all(x != y for x, y in zip(digest(a), digest(c), strict=True))
    assert not any(split.pending for split in a.splits.values())
    assert all(Domain("binary").contains(split.x) for split in a.splits.values())
    assert a.domain == a.test.domain == Domain("binary")
    assert a.provenance["transforms"] == [{"transform": "binarize", "mode": "static", "seed": 0}]


def test_binarize_dynamic_draws_only_the_training_data_afresh(grey):
    data = grey.binarize(seed=4)
    assert data.train.drawn().checksum != data.train.drawn().checksum
    assert data.train.fixed(1).checksum == data.train.fixed(1).checksum
    assert data.validation.drawn().checksum == data.validation.checksum
    assert digest(data)[1:] == digest(grey.binarize("static", seed=4))[1:]
    assert data.train[:3].drawn().x.shape == (3, 1, 4, 4)


@pytest.mark.float32
@pytest.mark.parametrize("levels", [True, False])
def test_binarize_draws_ones_as_often_as_the_grey_value_says(levels):
    p = torch.tensor([0.0, 0.2, 0.6, 1.0]).repeat(4000, 1)
    x = (p * 5).numpy().astype(np.uint8) if levels else p
    domain = Domain("levels", levels=6) if levels else Domain("unit")
    x = from_arrays(x, domain=domain).binarize("static").train.x
    assert torch.allclose(x.mean(0), p[0], atol=0.03)
    assert set(x[:, 0].tolist()) == {0.0}
    assert set(x[:, 3].tolist()) == {1.0}


def test_splits_do_not_share_their_noise():
    half = np.full((50, 8), 0.5)
    data = from_arrays(half, x_validation=half, x_test=half, domain=Domain("unit")).binarize("static")
    assert len(set(digest(data))) == 3


def test_threshold_is_deterministic(grey):
    data = grey.binarize("threshold", threshold=0.3)
    assert torch.equal(data.test.x, (grey.test.x / 255 > 0.3).float())
    assert not data.train.pending


def test_deterministic_steps_wait_behind_random_ones(grey):
    data = grey.dequantize().binarize("threshold")
    assert data.train.pending == (Dequantize(256), Threshold(0.5))
    assert Domain("binary").contains(data.train.drawn().x)
    assert not data.test.pending


def test_dequantize_stays_below_one_and_keeps_the_books(grey):
    data = grey.dequantize()
    x = data.train.drawn().x
    assert torch.equal((x * 256).floor(), grey.train.x)
    assert data.train.drawn().checksum != data.train.drawn().checksum
    assert digest(data)[1:] == digest(grey.dequantize())[1:] != digest(grey.dequantize(seed=1))[1:]
    assert data.domain == Domain("unit", levels=256, span=256.0)
    assert data.domain.log_volume / math.log(2) == pytest.approx(8)  # bits per dimension of a uniform density
    top = Dequantize(256)(torch.full((2_000_000,), 255.0))
    assert top.max() < 1


def test_standardize_has_mean_zero_and_sd_one(unit):
    data = unit.standardize()
    x = data.train.x.double()
    assert (float(x.mean()), float(x.std(correction=0))) == pytest.approx((0, 1), abs=1e-5)
    assert torch.allclose(data.domain.raw(data.test.x), unit.test.x, atol=1e-6)
    assert data.domain.kind == "real"
    repeated = data.standardize()
    assert repeated.domain.span == pytest.approx(data.domain.span, rel=1e-5)


def test_standardize_of_dequantized_data_gives_back_bits(grey):
    data = grey.dequantize().standardize()
    x = data.train.fixed(0).x
    assert (float(x.mean()), float(x.std(correction=0))) == pytest.approx((0, 1), abs=0.01)
    assert torch.equal(data.domain.raw(data.train.drawn().x).floor(), grey.train.x)
    scale = data.provenance["transforms"][1]["scale"]
    assert data.domain.log_volume == pytest.approx(math.log(256 * scale))


def test_standardize_looks_at_observed_elements_only(unit):
    data = unit.hide(0.5).standardize(per="all")
    observed = unit.hide(0.5).train
    assert data.provenance["transforms"][1]["loc"] == pytest.approx(float(observed.x[observed.mask].mean()))
    assert not data.train.x[~data.train.mask].any()


@pytest.mark.parametrize(
    ("start", "kinds", "steps", "end"),
    [
        ("levels", ("binary",), ["binarize"], "binary"),
        ("levels", ("unit", "binary"), ["dequantize"], "unit"),
        ("levels", ("real", "unit"), ["dequantize", "standardize"], "real"),
        ("levels", ("levels", "binary"), [], "levels"),
        ("unit", ("binary",), ["binarize"], "binary"),
        ("unit", ("real", "unit"), [], "unit"),
        ("unit", ("levels", "real"), ["standardize"], "real"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda f: f, functools.partial, lambda f: functools.partial(f, a=1)])
def test_suit_goes_the_shortest_way(grey, unit, start, kinds, steps, end, wrap):
    likelihood = wrap(kind_of(*kinds))
    data = (grey if start == "levels" else unit).suit(likelihood)
    assert [step["transform"] for step in data.provenance["transforms"]] == steps
    assert data.domain.kind == data.train.domain.kind == end
    assert data.likelihood is likelihood
    assert data.domain.contains(data.train.drawn().x)


def test_suit_refuses_where_no_way_leads(grey, unit):
    binary = grey.binarize()
    assert binary.suit(kind_of("binary")).checksum == binary.checksum
    with pytest.raises(ValueError, match="Leaf scores unit or real data, got binary; choose a likelihood of"):
        binary.suit(kind_of("unit", "real"))
    with pytest.raises(TypeError, match="class with `kinds`, got dict without; give the class"):
        grey.suit(dict)


def test_labels_become_a_context(grey):
    data = grey.condition_on_labels()
    assert data.context_shapes == ((3,),)
    for split in data.splits.values():
        (context,) = split.context
        assert context.dtype == torch.float32
        assert torch.equal(context.argmax(1), split.y)
        assert torch.equal(context.sum(1), torch.ones(len(split)))
    with pytest.raises(ValueError, match="a label for each datum, got none in 'arrays'; give labels"):
        from_arrays(np.eye(20)).condition_on_labels()
    nameless = replace(grey, classes=None).condition_on_labels()
    assert nameless.context_shapes == ((3,),)


def test_take_keeps_the_first(grey):
    data = grey.take(train=4, test=2)
    assert [len(split) for split in data.splits.values()] == [4, 15, 2]
    assert torch.equal(data.train.index, grey.train.index[:4])
    assert data.provenance["transforms"][0] == {
        "transform": "take",
        "train": 4,
        "validation": None,
        "test": 2,
    }
    for n in (0, 31):
        with pytest.raises(ValueError, match=f"1 to 30 train data, got {n}; give a number"):
            grey.take(train=n)


def test_hidden_elements_are_zero_before_and_after_drawing(grey):
    data = grey.hide(0.4, seed=2)
    for split in data.splits.values():
        assert split.mask.shape == split.x.shape
        assert not split.x[~split.mask].any()
    assert float(data.train.mask.float().mean()) == pytest.approx(0.6, abs=0.07)
    assert data.checksum == grey.hide(0.4, seed=2).checksum != grey.hide(0.4, seed=3).checksum
    drawn = grey.dequantize().standardize().hide(0.4, seed=2).train.drawn()
    assert torch.equal(drawn.mask, data.train.mask)
    assert not drawn.x[~drawn.mask].any()
    assert drawn.x[drawn.mask].all()
    twice = data.hide(0.4, seed=5)
    assert not (twice.train.mask & ~data.train.mask).any()
    for fraction in (0, 1, 1.5):
        with pytest.raises(ValueError, match=f"fraction in .0, 1., got {fraction}; leave out"):
            grey.hide(fraction)


def test_steps_refuse_the_wrong_domain(grey, unit):
    binary, real, counts = grey.binarize(), unit.standardize(), from_arrays(np.arange(60).reshape(20, 3))
    with pytest.raises(ValueError, match="levels or unit data, got binary; they are binary already"):
        binary.binarize()
    with pytest.raises(ValueError, match="got real; binarize before standardizing"):
        real.binarize()
    with pytest.raises(ValueError, match="got counts; use a likelihood of these values"):
        counts.binarize()
    with pytest.raises(ValueError, match=r"expects mode to be .* got 'otsu'; the default is 'dynamic'"):
        grey.binarize("otsu")
    with pytest.raises(ValueError, match="threshold=128"):
        grey.binarize("threshold", threshold=128)
    with pytest.raises(ValueError, match="expects grey levels, got unit data; leave out"):
        unit.dequantize()
    with pytest.raises(ValueError, match=r"got levels; dequantize first, .* unbounded"):
        grey.standardize()
    with pytest.raises(ValueError, match=r"got counts; .* noise"):
        counts.standardize()
    with pytest.raises(ValueError, match=r"that vary, got the value 0.1\d* everywhere; leave out"):
        from_arrays(np.full((30, 3), 0.1)).standardize()
    with pytest.raises(ValueError, match="no observed element"):
        from_arrays(np.eye(30), mask=np.zeros((30, 30), bool), domain=Domain("real")).standardize()


def test_provenance_is_json_and_checksums_see_what_is_pending(grey):
    data = grey.take(train=20).hide(0.2).dequantize().standardize().condition_on_labels()
    names = [step["transform"] for step in json.loads(json.dumps(data.provenance))["transforms"]]
    assert names == ["take", "hide", "dequantize", "standardize", "condition_on_labels"]
    assert data.provenance["sizes"]["train"] == 30
    assert json.loads(json.dumps(data.test.provenance))["split"] == "test"
    assert grey.provenance["transforms"] == []
    only_train = replace(data, train=replace(data.train, pending=()))
    assert only_train.checksum != data.checksum


@pytest.mark.parametrize(
    "transform", [SampleBinary(255.0), Threshold(0.2, 255.0), Dequantize(256), Standardize(3.0, 2.0)]
)
def test_transforms_can_be_pickled(transform):
    repeated = pickle.loads(pickle.dumps(transform))
    assert repeated == transform
    x = torch.full((2, 3), 7.0)
    torch.manual_seed(0)
    first = transform(x)
    torch.manual_seed(0)
    assert torch.equal(first, repeated(x))
    assert first.dtype == x.dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sampled_bits_have_the_probability_of_their_grey_value(dtype):
    n, levels = 40_000, torch.arange(256.0, dtype=dtype)
    torch.manual_seed(0)
    bits = SampleBinary(255)(levels.repeat(n, 1))
    assert bits.dtype == dtype
    assert ((bits == 0) | (bits == 1)).all()
    assert (bits[:, 0] == 0).all()
    assert (bits[:, 255] == 1).all()
    p = levels[1:-1] / 255
    z = (bits[:, 1:-1].mean(0) - p) / (p * (1 - p) / n).sqrt()
    assert z.abs().max() < 5  # chance of more, for 254 of them: 1.5e-4; 2^-17 is 0.03 se at most
    assert abs(z.square().mean() - 1) < 5 * math.sqrt(2 / 254)


def test_sampled_bits_are_independent():
    torch.manual_seed(0)
    bits = SampleBinary(255)(torch.full((50_000, 12), 100.0))  # three words of 64 bits a row
    between = torch.corrcoef(bits.T)[~torch.eye(12, dtype=torch.bool)]
    assert between.abs().max() < 5 / math.sqrt(len(bits))
    following = ((bits[1:] - bits.mean()) * (bits[:-1] - bits.mean())).mean(0) / bits.var()
    assert following.abs().max() < 5 / math.sqrt(len(bits))


@pytest.mark.parametrize("shape", [(), (3,), (0,), (0, 4), (4, 0), (40, 1, 7, 5), (3, 2**5 + 1)])
def test_sampled_bits_have_the_shape_of_their_grey_values(shape):
    sure = torch.randint(2, shape, generator=torch.Generator().manual_seed(0)) * 255.0
    for x in (sure, sure.mT) if len(shape) > 1 else (sure,):
        assert torch.equal(SampleBinary(255)(x), x / 255)


@pytest.mark.parametrize("transform", [SampleBinary(255), Dequantize(256)])
def test_draws_of_rows_are_those_of_the_whole(transform):
    x = torch.randint(256, (6, 1, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    torch.manual_seed(1)
    whole = transform(x)
    torch.manual_seed(1)
    with RowDraws(6, slice(2, 5)):
        assert torch.equal(transform(x[2:5]), whole[2:5])


@pytest.mark.parametrize("level", [0.0, 3.0, 200.0, 255.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dequantized_levels_are_uniform_between_them(level, dtype):
    torch.manual_seed(0)
    drawn = Dequantize(256)(torch.full((20_000, 5), level, dtype=dtype))
    assert drawn.dtype == dtype
    u = drawn.double() * 256 - level
    assert u.min() > 0
    assert drawn.max() < 1
    assert kstest(u.flatten().numpy(), "uniform").pvalue > 1e-4
    assert torch.corrcoef(u.T)[~torch.eye(5, dtype=torch.bool)].abs().max() < 5 / math.sqrt(len(u))


def test_dequantized_levels_never_reach_the_next_or_stay_where_they_are():
    levels = torch.arange(256.0).repeat(20_000, 1)
    torch.manual_seed(0)
    x = Dequantize(256)(levels) * 256
    assert (x > levels).all()
    assert (x < levels + 1).all()


@pytest.mark.parametrize(
    ("x", "domain"),
    [
        (np.eye(20), Domain("binary")),
        (np.eye(20).astype(bool), Domain("binary")),
        (np.eye(20).astype(np.uint8), Domain("binary")),
        (np.arange(40, dtype=np.uint8).reshape(20, 2), Domain("levels", levels=256)),
        (np.arange(40).reshape(20, 2), Domain("counts")),
        (np.arange(40).reshape(20, 2) - 5, Domain("real")),
        (np.linspace(0, 1, 40).reshape(20, 2), Domain("unit")),
        (np.linspace(0, 1.1, 40).reshape(20, 2), Domain("real")),
        (torch.linspace(-1, 1, 40).reshape(20, 2).requires_grad_(), Domain("real")),
        ([[0.5, 3.0]] * 20, Domain("real")),
    ],
)
def test_values_suggest_their_domain(x, domain):
    data = from_arrays(x)
    assert data.domain == domain
    assert [len(split) for split in data.splits.values()] == [16, 2, 2]


def test_random_splits_follow_the_seed(rng):
    x = rng.normal(size=(40, 2))
    a, b, c = (from_arrays(x, seed=seed) for seed in (0, 0, 1))
    assert digest(a) == digest(b) != digest(c)
    assert a.provenance["split_seed"] == 0
    assert a.provenance["sha256"] == c.provenance["sha256"]
    x[:] = 0
    assert digest(a) == digest(b)


def test_given_splits_are_kept_and_the_others_drawn(rng):
    x, z = rng.normal(size=(40, 2)), rng.normal(size=(7, 2))
    labels = {"y": ["b", "a"] * 20, "y_test": ["a"] * 6 + ["c"]}
    data = from_arrays(x, x_test=z, **labels, fractions=(0.5, 0.25, 0.25))
    assert [len(split) for split in data.splits.values()] == [30, 10, 7]
    assert torch.equal(data.test.x, torch.from_numpy(z).float())
    assert data.classes == ("a", "b", "c")
    assert data.test.y.tolist() == [0] * 6 + [2]
    assert data.train.y.tolist() == [1 - int(i) % 2 for i in data.train.index]
    whole_numbers = from_arrays(
        x, np.arange(40.0) % 2, x_validation=x, y_validation=[1] * 40, x_test=x, y_test=[0] * 40
    )
    assert whole_numbers.classes == ("0", "1")
    assert "split_seed" not in whole_numbers.provenance


def test_missing_values_are_nan_or_a_mask(rng):
    x = rng.normal(size=(30, 3))
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"got 1 NaN or infinite of 90, the first at \(2, 1\); make them NaN"):
        from_arrays(x, mask=np.ones_like(x, dtype=bool))
    data = from_arrays(x, mask=np.isfinite(x))
    assert [s.checksum for s in from_arrays(x).splits.values()] == [s.checksum for s in data.splits.values()]
    assert sum(int((~split.mask).sum()) for split in data.splits.values()) == 1
    assert all(torch.isfinite(split.x).all() for split in data.splits.values())
    with pytest.raises(ValueError, match=r"mask of x expects .* got \(3,\) for \(30, 3\); give True or False"):
        from_arrays(x, mask=[True, True, True])
    with pytest.raises(ValueError, match="finite values in float32"):
        from_arrays(np.full((10, 2), 1e200))


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"at least one datum, got shape \(5,\); give one row", {"x": np.zeros(5)}),
        (ValueError, r"got shape \(0, 4\)", {"x": np.zeros((0, 4))}),
        (TypeError, "x expects numbers, got dtype <U1; convert", {"x": [["a", "b"]]}),
        (ValueError, r"labels of shape \(9,\), got \(4,\); give one", {"x": np.eye(9), "y": np.arange(4)}),
        (TypeError, "got dtype float64 for train; give class", {"x": np.eye(9), "y": np.linspace(0, 1, 9)}),
        (ValueError, r"got them for \['test'\]", {"x": np.eye(9), "x_test": np.eye(9), "y_test": range(9)}),
        (ValueError, "sum 1, got .0.8, 0.1, 0.2.; give", {"x": np.eye(9), "fractions": (0.8, 0.1, 0.2)}),
        (ValueError, "at least 3 data to draw validation and test from, got 2; give", {"x": np.eye(2)}),
        (ValueError, r"got \(4,\) for \(9,\); give all splits", {"x": np.eye(9), "x_test": np.eye(4)}),
        (
            ValueError,
            r"expect levels values \(0 to 16\), got values from 0 to 20 with 2 .* `domain` says; correct",
            {"x": 20 * np.eye(9), "domain": Domain("levels", levels=17)},
        ),
        (
            ValueError,
            "test data expect binary values, got values from 0 to 3 with 2 .* x suggests; give `domain`",
            {"x": np.eye(9), "x_test": 3 * np.eye(9)},
        ),
    ],
)
def test_arrays_that_are_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        from_arrays(**arguments)


def test_npy_and_npz_files(tmp_path, rng):
    x = rng.integers(0, 256, (30, 1, 3, 3)).astype(np.uint8)
    np.save(tmp_path / "grey.npy", x)
    np.savez(tmp_path / "one.npz", images=x)
    np.savez(tmp_path / "more.npz", x=x, y=np.arange(30) % 2, x_test=x[:5], y_test=np.zeros(5, int))
    for name in ("grey.npy", "one.npz"):
        data = load(tmp_path / name)
        assert (data.name, data.x_shape, data.domain.levels) == (name[:-4], (1, 3, 3), 256)
        assert data.provenance["md5"][name] == store.md5_of(tmp_path / name)
        assert data.checksum == from_arrays(x).checksum
    data = load(str(tmp_path / "more.npz"), conditional=True, likelihood=kind_of("binary"), seed=1)
    assert len(data.test) == 5
    assert data.context_shapes == ((2,),)
    assert data.domain.kind == "binary"


def test_files_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"file or folder at .*none.npz, got nothing there; correct"):
        load(tmp_path / "none.npz")
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "names.npz", x=np.eye(9), labels=np.arange(9))
    np.savez(tmp_path / "cut.npz", x=np.eye(30))
    cut = tmp_path / "cut.npz"
    cut.write_bytes(cut.read_bytes()[:500])
    (tmp_path / "table.mat").write_text("1,2")
    for name, message in [
        ("objects.npy", "to hold arrays of numbers, got ValueError: .*; write it anew"),
        ("cut.npz", "to hold arrays of numbers, got BadZipFile: .*; write it anew"),
        ("names.npz", r"got \['labels', 'x'\]; rename"),
        ("table.mat", "that ends in .csv, .* or a folder of pictures, got .*table.mat; convert it: np.savez"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_file(tmp_path / name)


def write_pictures(folder, count, size=(4, 3), mode="L", value=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
        Image.fromarray(np.full(shape, 10 * i if value is None else value, np.uint8)).save(folder / f"{i:02}.png")


def test_a_folder_of_pictures(tmp_path):
    write_pictures(tmp_path / "grey", 12)
    data = load(tmp_path / "grey")
    assert (data.x_shape, data.domain, data.classes) == ((1, 3, 4), Domain("levels", levels=256), None)
    assert torch.equal(data.test.x[:, 0, 0, 0], 10.0 * data.test.index)
    write_pictures(tmp_path / "pets/cat", 6, mode="RGB")
    write_pictures(tmp_path / "pets/dog", 6, mode="RGB", value=200)
    data = load(tmp_path / "pets")
    assert (data.x_shape, data.classes) == ((3, 3, 4), ("cat", "dog"))
    assert torch.equal(data.train.y == 1, data.train.x[:, 0, 0, 0] == 200)
    left_red = np.zeros((3, 4, 3), np.uint8)
    left_red[:, 0, 0] = 255
    Image.fromarray(left_red).save(tmp_path / "pets/cat/9.png")
    assert np.array_equal(read_images(tmp_path / "pets")[0][6], np.moveaxis(left_red, -1, 0))


def test_folders_that_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    write_pictures(tmp_path / "sizes", 2)
    Image.new("L", (9, 9)).save(tmp_path / "sizes/big.png")
    write_pictures(tmp_path / "splits/test", 2)
    write_pictures(tmp_path / "dev/dev", 2)
    write_pictures(tmp_path / "both", 2)
    write_pictures(tmp_path / "both/cat", 2)
    write_pictures(tmp_path / "broken", 2)
    (tmp_path / "broken/00.png").write_bytes((tmp_path / "broken/00.png").read_bytes()[:40])
    (tmp_path / "deep").mkdir()
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "deep/0.tiff")
    for name, message in [
        ("empty", r"expected pictures .* got none; move"),
        ("sizes", r"got \(4, 3\) for .* and \(9, 9\) for .*big.png \(width, height\); crop"),
        ("splits", r"got \['test'\], which look like splits; read each"),
        ("dev", r"got \['dev'\], which look like splits; read each"),
        ("both", "got some in both; move"),
        ("broken", "expected a picture, got .*00.png; repair"),
        ("deep", "8 bits a channel, got mode F for .* convert"),
    ]:
        with pytest.raises(ValueError, match=message):
            load(tmp_path / name)


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())
    return store.md5_of(path)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(torchvision_sets, "_VALIDATION", 4)
    for relative in list(store.MD5):
        monkeypatch.delitem(store.MD5, relative)


def write_digits_like(root, kind, rng):
    images = {"train": rng.integers(0, 256, (12, 28, 28)), "t10k": rng.integers(0, 256, (5, 28, 28))}
    for side, x in images.items():
        write_idx(root / kind / "raw" / f"{side}-images-idx3-ubyte", x)
        write_idx(root / kind / "raw" / f"{side}-labels-idx1-ubyte", np.arange(len(x)) % 10)
    return images


@pytest.mark.parametrize(
    ("name", "kind", "classes"),
    [("mnist", "MNIST", "0123456789"), ("fashion_mnist", "FashionMNIST", None), ("kmnist", "KMNIST", None)],
)
def test_idx_files(tmp_path, rng, few, monkeypatch, name, kind, classes):
    images = write_digits_like(tmp_path, kind, rng)
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    data = load(name)
    assert [len(split) for split in data.splits.values()] == [8, 4, 5]
    assert torch.equal(data.validation.x[:, 0], torch.from_numpy(images["train"][8:]).float())
    assert torch.equal(data.test.x[:, 0], torch.from_numpy(images["t10k"]).float())
    assert data.validation.index.tolist() == [8, 9, 10, 11]
    assert data.validation.y.tolist() == [8, 9, 0, 1]
    assert len(data.classes) == 10
    assert classes is None or data.classes == tuple(classes)
    assert len(data.provenance["md5"]) == 4
    assert data.domain == Domain("levels", levels=256)


@pytest.mark.parametrize(
    ("name", "part", "first", "count"),
    [("emnist", "balanced", 0, 47), ("emnist_letters", "letters", 1, 26), ("emnist_digits", "digits", 0, 10)],
)
def test_emnist_is_turned_upright(tmp_path, rng, few, name, part, first, count):
    x = rng.integers(0, 256, (12, 28, 28))
    for side, n in [("train", 12), ("test", 3)]:
        prefix = f"EMNIST/raw/emnist-{part}-{side}"
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", x[:n])
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", np.arange(n) % 10 + first)
    data = load(name, data_dir=tmp_path)
    assert [len(split) for split in data.splits.values()] == [9, 3, 3]
    assert torch.equal(data.test.x[:, 0], torch.from_numpy(x[:3]).float().mT)
    assert data.train.y[:4].tolist() == [0, 1, 2, 3]
    assert len(data.classes) == count


def test_svhn(tmp_path, rng, few, monkeypatch):
    kind = torchvision().datasets.SVHN
    (tmp_path / "SVHN").mkdir()
    x = rng.integers(0, 256, (32, 32, 3, 9)).astype(np.uint8)
    entries = {}
    for side in ("train", "test"):
        file = tmp_path / "SVHN" / f"{side}_32x32.mat"
        scipy.io.savemat(file, {"X": x, "y": (np.arange(9) + 2)[:, None].astype(np.uint8)})
        entries[side] = ["", file.name, store.md5_of(file)]
    monkeypatch.setattr(kind, "split_list", kind.split_list | entries)
    data = load("svhn", data_dir=tmp_path)
    assert [len(split) for split in data.splits.values()] == [5, 4, 9]
    assert torch.equal(data.test.x[2], torch.from_numpy(x[..., 2]).float().permute(2, 0, 1))
    assert data.test.y.tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 0]
    entries["test"][2] = "0" * 32
    with pytest.raises(ValueError, match=r"MD5 0+, got .*; remove it and call load.'svhn', download=True"):
        load("svhn", data_dir=tmp_path)


def test_cifar10(tmp_path, rng, few, monkeypatch):
    kind = torchvision().datasets.CIFAR10
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    x = rng.integers(0, 256, (3, 3072)).astype(np.uint8)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, store.md5_of(folder / name)]

    batches = [write(name, {"data": x, "labels": [2, 0, 1]}) for name, _ in kind.train_list]
    test = [write("test_batch", {"data": x, "labels": [2, 0, 1]})]
    meta = write("batches.meta", {"label_names": ["plane", "car", "bird"]})
    monkeypatch.setattr(kind, "train_list", batches)
    monkeypatch.setattr(kind, "test_list", test)
    monkeypatch.setattr(kind, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    data = load("cifar10", data_dir=tmp_path, conditional=True)
    assert [len(split) for split in data.splits.values()] == [11, 4, 3]
    assert torch.equal(data.test.x, torch.from_numpy(x).reshape(3, 3, 32, 32).float())
    assert data.classes == ("plane", "car", "bird")
    (folder / "data_batch_3").write_bytes(b"changed")
    with pytest.raises(ValueError, match="data_batch_3 to have MD5"):
        load("cifar10", data_dir=tmp_path)


def test_frey_faces(tmp_path, rng, few):
    (tmp_path / "FreyFaces").mkdir()
    x = rng.integers(8, 239, (410, 28, 20)).astype(np.uint8)
    np.savez(tmp_path / "FreyFaces/frey_faces.npz", images=x)
    data = load("frey_faces", data_dir=tmp_path)
    assert [len(split) for split in data.splits.values()] == [10, 200, 200]
    assert torch.equal(data.train.x[:, 0], torch.from_numpy(x)[data.train.index].float())
    assert digest(data) != digest(load("frey_faces", data_dir=tmp_path, seed=1))
    with pytest.raises(ValueError, match="expects a label for each datum"):
        load("frey_faces", data_dir=tmp_path, conditional=True)


def test_caltech_silhouettes_are_upright_with_ink_one(tmp_path, rng, few):
    (tmp_path / "Caltech101Silhouettes").mkdir()
    picture = np.zeros((28, 28), np.uint8)
    picture[2, 5:20] = 1
    file = 1 - picture.T.reshape(1, 784).repeat(3, 0)
    content = {f"{side}_data": file for side in ("train", "val", "test")}
    content |= {f"{side}_labels": np.array([[1], [2], [1]], np.uint8) for side in ("train", "val", "test")}
    content["classnames"] = np.array([["cat", "dog"]], dtype=object)
    scipy.io.savemat(tmp_path / small_sets._SILHOUETTES, content)
    data = load("caltech101_silhouettes", data_dir=tmp_path)
    assert torch.equal(data.validation.x[0, 0], torch.from_numpy(picture).float())
    assert (data.domain, data.classes) == (Domain("binary"), ("cat", "dog"))
    assert data.test.y.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="binary already"):
        load("caltech101_silhouettes", data_dir=tmp_path, binarize="static")


def write_omniglot(path, x):
    columns = x.transpose(0, 2, 1).reshape(len(x), 784).T
    target = np.eye(50)[:, np.arange(len(x)) % 50]
    scipy.io.savemat(path, {"data": columns, "target": target, "testdata": columns[:, :7], "testtarget": target[:, :7]})


def test_omniglot_columns_are_images_column_by_column(tmp_path, rng, few):
    (tmp_path / "Omniglot").mkdir()
    x = rng.random((1350, 28, 28))
    write_omniglot(tmp_path / "Omniglot/chardata.mat", x)
    data = load("omniglot", data_dir=tmp_path)
    assert [len(split) for split in data.splits.values()] == [5, 1345, 7]
    assert torch.equal(data.test.x[:, 0], torch.from_numpy(x[:7]).float())
    assert torch.equal(data.train.y, data.train.index % 50)
    assert (data.domain, len(data.classes)) == (Domain("unit"), 50)


def test_digits_need_no_file():
    data = load("digits", binarize="static", conditional=True)
    assert data.context_shapes == ((10,),)
    assert digest(load("digits")) == digest(load("digits")) != digest(load("digits", seed=1))
    assert load("digits").domain == Domain("levels", levels=17)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"digits", "s_curve", "sprites", "swiss_roll"}))
def test_a_missing_file_names_path_and_remedy(tmp_path, monkeypatch, name):
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/ppl_vae/.*, got nothing there; .*data_dir or"):
        load(name)


def test_wrong_and_truncated_files_are_refused(tmp_path, rng, few, monkeypatch):
    write_digits_like(tmp_path, "MNIST", rng)
    images = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    monkeypatch.setitem(store.MD5, "MNIST/raw/train-images-idx3-ubyte", store.md5_of(images))
    load("mnist", data_dir=tmp_path)
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"to have MD5 \w{32}, got \w{32} \(\d+ bytes\).*remove it and call"):
        load("mnist", data_dir=tmp_path)
    monkeypatch.delitem(store.MD5, "MNIST/raw/train-images-idx3-ubyte")
    with pytest.raises(ValueError, match=r"to be whole IDX files, got \w+: .*; remove them and call"):
        load("mnist", data_dir=tmp_path)
    images.write_bytes(b"")
    with pytest.raises(ValueError, match="whole IDX files"):
        load("mnist", data_dir=tmp_path)
    write_idx(images, np.zeros((4, 28, 28)))
    with pytest.raises(ValueError, match="as many y as x, got 12 for 4"):
        load("mnist", data_dir=tmp_path)
    write_idx(tmp_path / "MNIST/raw/train-labels-idx1-ubyte", np.zeros(4))
    with pytest.raises(ValueError, match="more than 4 training data, got 4; remove"):
        load("mnist", data_dir=tmp_path)


def test_names_and_roots(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"one of caltech101_silhouettes, .*, got 'mnits'; did you mean mnist\?"):
        load("mnits")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.find_root() == tmp_path / ".cache/ppl_vae"
    monkeypatch.setenv("PPL_VAE_DATA", "there")
    assert str(store.find_root()) == "there"
    assert str(store.find_root("here")) == "here"


@pytest.fixture
def server(tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "server"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def test_downloads_go_through_torchvision(tmp_path, rng, few, monkeypatch, server):
    folder, url = server
    kind = torchvision().datasets.KMNIST
    write_digits_like(folder, "KMNIST", rng)
    resources = []
    for file in sorted((folder / "KMNIST/raw").iterdir()):
        packed = folder / f"{file.name}.gz"
        packed.write_bytes(gzip.compress(file.read_bytes()))
        resources.append((packed.name, store.md5_of(packed)))
    monkeypatch.setattr(kind, "resources", resources)
    monkeypatch.setattr(kind, "mirrors", [url])
    data = load("kmnist", data_dir=tmp_path / "new", download=True)
    assert len(data.test) == 5
    monkeypatch.setattr(kind, "mirrors", [(tmp_path / "nowhere").as_uri() + "/"])
    assert load("kmnist", data_dir=tmp_path / "new", download=True).checksum == data.checksum
    with pytest.raises(OSError, match=r"to download kmnist into .*, got RuntimeError: (?s:.*); try again"):
        load("kmnist", data_dir=tmp_path / "other", download=True)


def test_downloads_of_single_files(tmp_path, few, monkeypatch, server):
    folder, url = server
    write_omniglot(folder / "chardata.mat", np.zeros((1350, 28, 28)))
    monkeypatch.setitem(small_sets._URL, small_sets._OMNIGLOT, f"{url}chardata.mat")
    assert len(load("omniglot", data_dir=tmp_path / "new", download=True).test) == 7
    monkeypatch.setitem(small_sets._URL, small_sets._OMNIGLOT, (tmp_path / "nowhere").as_uri())
    assert len(load("omniglot", data_dir=tmp_path / "new", download=True).test) == 7
    with pytest.raises(OSError, match=r"to download omniglot into .*, got URLError: .*; try again, or put"):
        load("omniglot", data_dir=tmp_path / "other", download=True)


def test_torchvision_leaves_random_numbers_alone_and_imports_from_scratch():
    code = (
        "import torch; s = torch.get_rng_state();"
        "from ppl_vae._torchvision import torchvision;"
        "assert torchvision() is torchvision(); import torchvision as t; t.datasets.MNIST;"
        "assert torch.equal(s, torch.get_rng_state())"
    )
    subprocess.run([sys.executable, "-W", "error::RuntimeWarning", "-c", code], check=True)


def real(name):
    try:
        return load(name)
    except FileNotFoundError as error:
        if "PPL_VAE_DATA" in os.environ:
            raise
        pytest.skip(str(error))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "folder", "sizes", "shape", "low", "high"),
    [
        ("mnist", "MNIST", [50_000, 10_000, 10_000], (1, 28, 28), 0, 255),
        ("fashion_mnist", "FashionMNIST", [50_000, 10_000, 10_000], (1, 28, 28), 0, 255),
        ("frey_faces", "FreyFaces", [1565, 200, 200], (1, 28, 20), 8, 238),
        ("caltech101_silhouettes", "Caltech101Silhouettes", [4100, 2264, 2307], (1, 28, 28), 0, 1),
    ],
)
def test_real_files_are_what_they_should_be(name, folder, sizes, shape, low, high):
    data = real(name)
    assert [len(split) for split in data.splits.values()] == sizes
    assert data.x_shape == shape
    splits = data.splits.values()
    assert min(float(split.x.min()) for split in splits) == low
    assert max(float(split.x.max()) for split in splits) == high
    assert data.domain.contains(data.test.x)
    known = {path.split("/")[-1]: md5 for path, md5 in store.MD5.items() if path.startswith(f"{folder}/")}
    assert data.provenance["md5"] == known


@pytest.mark.real_data
def test_real_mnist_is_upright():
    data = real("mnist")
    assert data.train.y[:5].tolist() == [5, 0, 4, 1, 9]
    ones = data.test.x[data.test.y == 1].mean((0, 1))
    assert ones.amax(1)[4:24].min() > 20  # a stroke from top to bottom
    sevens = data.test.x[data.test.y == 7].mean((0, 1))
    assert sevens[7:11].sum() > 1.5 * sevens[18:22].sum()  # the bar of a seven is on top


@pytest.mark.real_data
def test_real_garments_faces_and_silhouettes_are_upright():
    trousers = (d := real("fashion_mnist")).test.x[d.test.y == 1].mean((0, 1))
    assert trousers[2, 14] > 100 > trousers[24, 14]  # the legs part below the belt
    faces = real("frey_faces").train.x.mean((0, 1))
    assert faces.shape == (28, 20)
    silhouettes = real("caltech101_silhouettes")
    named = {name: i for i, name in enumerate(silhouettes.classes)}
    umbrella = silhouettes.train.x[silhouettes.train.y == named["umbrella"]].mean((0, 1))
    assert umbrella[8].sum() > 2 * umbrella[24].sum()  # the canopy is above the handle
    assert silhouettes.train.x[:, 0, 0, 0].mean() < 0.5  # the corners are background


def test_collected_splits_are_data():
    split = Split(torch.zeros(2, 3), torch.arange(2))
    data = collect("zeros", split, split, split, domain=Domain("binary"), note=1)
    assert isinstance(data, Data)
    assert data.provenance["note"] == 1


def test_data_from_a_file_are_found_again_and_may_move(tmp_path):
    file = tmp_path / "own.npy"
    np.save(file, np.random.default_rng(0).normal(size=(30, 2)))
    data = load(file).standardize()
    assert data.provenance["path"] == str(file)
    assert again(data.provenance).test.identity == data.test.identity
    (tmp_path / "moved").mkdir()
    moved = file.rename(tmp_path / "moved" / "own.npy")
    with pytest.raises(FileNotFoundError, match=r"expected the data of the run at .*own.npy', got nothing.*--data"):
        again(data.provenance)
    assert again(data.provenance, name=moved).test.identity == data.test.identity
