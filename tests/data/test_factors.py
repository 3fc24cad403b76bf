"""Data whose factors are known, and how they travel with the data."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from ppl_vae import Bernoulli, Gaussian
from ppl_vae.data import Data, Domain, Split, again, load
from ppl_vae.data.known_factors import s_length, spiral_length
from ppl_vae.data.sprites import draw

CURVES = {
    "swiss_roll": (lambda t: (t * math.cos(t), t * math.sin(t)), spiral_length, (1.5 * math.pi, 4.5 * math.pi)),
    "s_curve": (
        lambda t: (math.sin(t), math.copysign(math.cos(t) - 1, -t)),
        s_length,
        (-1.5 * math.pi, 1.5 * math.pi),
    ),
}


@pytest.fixture(scope="module")
def sprites():
    return load("sprites")


def speed(curve, t, step=1e-5):
    before, after = curve(t - step), curve(t + step)
    return math.hypot(*(np.subtract(after, before) / (2 * step)))


@pytest.mark.parametrize("name", CURVES)
def test_arc_length_is_the_integral_of_the_speed(name):
    curve, length, (start, end) = CURVES[name]
    for t in np.linspace(start, end, 7):
        assert length(np.float64(t)) == pytest.approx(quad(lambda a: speed(curve, a), start, t)[0], abs=1e-6)


@pytest.mark.parametrize("name", CURVES)
def test_a_sheet_is_where_its_factors_say(name):
    """Rolled up again, the factors are the data, but for noise of the sd recorded."""
    curve, length, (start, end) = CURVES[name]
    data = load(name)
    assert (data.x_shape, data.domain.kind) == ((3,), "real")
    assert data.provenance["factors"] == ["arc length", "height"]
    arc, height = data.train.factors.double().numpy().T
    grid = np.linspace(start, end, 20_001)
    points = np.array([curve(t) for t in np.interp(arc, length(grid), grid)])
    away = data.train.x.double().numpy() - np.stack([points[:, 0], height, points[:, 1]], 1)
    n = away.size
    assert away.std() == pytest.approx(data.provenance["noise"], rel=4 / math.sqrt(2 * n))
    assert abs(away.mean()) < 4 * data.provenance["noise"] / math.sqrt(n)


@pytest.mark.parametrize("name", CURVES)
def test_a_sheet_is_drawn_by_the_seed(name):
    assert load(name).checksum == load(name).checksum != load(name, seed=1).checksum
    assert load(name, seed=1).provenance["split_seed"] == 1


def test_sprites_are_every_combination_once(sprites):
    splits = sprites.splits.values()
    factors = torch.cat([split.factors for split in splits])
    assert [len(factors[:, f].unique()) for f in range(5)] == [3, 6, 10, 12, 12]
    assert len(factors.unique(dim=0)) == len(factors) == 3 * 6 * 10 * 12 * 12
    assert torch.cat([split.index for split in splits]).sort().values.equal(torch.arange(len(factors)))
    some = torch.randperm(len(sprites.train), generator=torch.Generator().manual_seed(0))[:500]
    assert sprites.train.x[some].bool().equal(draw(*sprites.train.factors[some].T))
    assert sprites.train.y.equal(sprites.train.factors[:, 0].long())
    assert (sprites.domain, sprites.classes) == (Domain("binary"), ("square", "ellipse", "heart"))


def test_no_two_sprites_are_alike(sprites):
    x = torch.cat([split.x for split in sprites.splits.values()]).flatten(1)
    packed = np.packbits(x.numpy().astype(bool), axis=1)
    assert len({row.tobytes() for row in packed}) == len(x)


def test_a_sprite_is_whole_and_where_its_factors_say(sprites):
    shape, scale, angle, x, y = sprites.test.factors.T
    middle = torch.full_like(x, 6 / 11)
    moved = zip(
        draw(shape, scale, angle, middle, middle), (11 * y - 6).round().int(), (11 * x - 6).round().int(), strict=True
    )
    rolled = torch.stack([picture.roll((int(down), int(right)), (-2, -1)) for picture, down, right in moved])
    assert rolled.equal(sprites.test.x.bool())
    exact = torch.tensor([4 * 7.44**2, math.pi * 10.3 * 5.65, 3.661973 * 7.3**2])[shape.long()] * scale**2
    assert (sprites.test.x.sum((1, 2, 3)) / exact).mean() == pytest.approx(1, abs=0.01)
    ink = sprites.test.x[:, 0]  # on opposite edges it would have been rolled around
    assert not (ink[:, 0].any(1) & ink[:, -1].any(1) | ink[:, :, 0].any(1) & ink[:, :, -1].any(1)).any()


def test_sprites_turn_anticlockwise_and_a_heart_points_down():
    one = torch.ones(2, dtype=torch.float64)
    ellipses = draw(one, one, torch.tensor([0.0, math.pi / 4]), 0.5 * one, 0.5 * one)[:, 0]
    wide = ellipses[0].any(0).sum() > 1.5 * ellipses[0].any(1).sum()
    rows, columns = ellipses[1].nonzero().double().T
    rising = torch.corrcoef(torch.stack([rows, columns]))[0, 1] < -0.4  # rows count downwards
    heart = draw(2 * one, one, 0 * one, 0.5 * one, 0.5 * one)[0, 0].sum(1)
    filled = heart[heart > 0]
    assert wide
    assert rising
    assert filled[0] > 2 * filled[-1]


def test_a_square_looks_the_same_after_90_degrees_and_an_ellipse_after_180():
    half = torch.full((1,), 0.5, dtype=torch.float64)
    for shape, period in ((0, math.pi / 2), (1, math.pi)):
        first, second, between = (
            draw(0 * half + shape, 2 * half, 0 * half + angle, half, half) for angle in (0.3, 0.3 + period, 0.3 + 0.7)
        )
        assert first.equal(second)
        assert not first.equal(between)


def test_rows_and_devices_keep_factors():
    split = load("s_curve").test
    assert split[3:5].factors.equal(split.factors[3:5])
    assert split[torch.tensor([4, 1])].factors.equal(split.factors[[4, 1]])
    assert split.to("cpu").factors.equal(split.factors)
    assert split.to("meta").factors.is_meta
    assert split.checksum == replace(split, factors=None).checksum
    assert split.factors.dtype == torch.float32


@pytest.mark.parametrize(
    ("shape", "message"),
    [((4, 2), "as many factors as x, got 4 for 3 data"), ((3,), r"factors of shape \(n, F\), got \(3,\); give one")],
)
def test_factors_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        Split(torch.zeros(3, 2), torch.arange(3), factors=torch.zeros(shape))


def grey():
    made = load("s_curve")
    splits = {
        role: replace(split, x=(20 * split.x.sigmoid()).round(), y=torch.arange(len(split)) % 3)
        for role, split in made.splits.items()
    }
    return Data("grey", domain=Domain("levels", levels=21), provenance=made.provenance, **splits)


@pytest.mark.parametrize(
    "step",
    [
        lambda data: data.binarize("dynamic"),
        lambda data: data.binarize("static"),
        lambda data: data.binarize("threshold"),
        lambda data: data.dequantize(),
        lambda data: data.dequantize().standardize(),
        lambda data: data.suit(Bernoulli),
        lambda data: data.hide(0.5),
        lambda data: data.condition_on_labels(),
    ],
    ids=["dynamic", "static", "threshold", "dequantize", "standardize", "suit", "hide", "condition_on_labels"],
)
def test_every_step_keeps_factors(step):
    data = grey()
    after = step(data)
    for role, split in data.splits.items():
        for kept in (after.splits[role], after.splits[role].drawn(), after.splits[role].fixed(0)):
            assert kept.factors.equal(split.factors)
            assert kept.provenance["factors"] == ["arc length", "height"]
    assert step(data).take(train=7).train.factors.equal(data.train.factors[:7])


@pytest.mark.parametrize("name", ["swiss_roll", "s_curve"])
def test_stored_data_come_back_with_their_factors(name):
    data = load(name, likelihood=Gaussian, seed=3).standardize().take(train=100).hide(0.2)
    back = again(json.loads(json.dumps(data.provenance)))
    assert back.checksum == data.checksum
    assert back.provenance == data.provenance
    assert all(back.splits[role].factors.equal(split.factors) for role, split in data.splits.items())


def test_stored_sprites_come_back_with_their_factors(sprites):
    data = sprites.take(train=50, validation=5, test=5)
    back = again(json.loads(json.dumps(data.provenance)))
    assert back.checksum == data.checksum
    assert back.train.factors.equal(data.train.factors)
