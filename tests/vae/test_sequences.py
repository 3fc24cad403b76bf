"""Sequences, of one length or of several: networks of steps, padding that changes nothing, ragged lists."""

from functools import partial

import numpy as np
import pytest
import torch

from ppl_vae import (
    Bernoulli,
    Categorical,
    Conv1dDecoder,
    Conv1dEncoder,
    DataSpec,
    Domain,
    Gaussian,
    GRUDecoder,
    GRUEncoder,
    build,
    evaluate,
    fit,
)
from ppl_vae.cli import main
from ppl_vae.data import Split, from_arrays
from ppl_vae.training import load

GRU = {"encoder": partial(GRUEncoder, hidden_dim=6), "decoder": partial(GRUDecoder, hidden_dim=6)}
CONV = {"encoder": partial(Conv1dEncoder, channels=(4,)), "decoder": partial(Conv1dDecoder, channels=(4,))}


def split(x, steps):
    """Sequences x (n, t, ...) with the mask of their NaN, padded to so many steps."""
    padding = torch.full((len(x), steps - x.shape[1], *x.shape[2:]), torch.nan, dtype=x.dtype)
    padded = torch.cat([x, padding], 1)
    return Split(padded, torch.arange(len(x)), mask=~padded.isnan())


def with_ends(shape, seed=0):
    """Numbers with a gap and ends of several lengths, one of them of no step."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for i, row in enumerate(x):
        row[i:] = torch.nan
    x[-1, 1] = torch.nan
    return x


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_padding_changes_nothing(shape, num_layers, bidirectional):
    x = with_ends((6, *shape))
    found = []
    for steps in (5, 9):
        described = DataSpec((steps, *shape[1:]), Domain("real"), masked=True)
        encoder = partial(GRUEncoder, hidden_dim=6, num_layers=num_layers, bidirectional=bidirectional)
        vae = build(described, latent_dim=2, **GRU | {"encoder": encoder}, likelihood=Gaussian, seed=0).double()
        if found:
            weights = {k: v for k, v in found[0][0].items() if "scale" not in k}  # one scale for each number of x
            assert not vae.load_state_dict(weights, strict=False).unexpected_keys
        data = split(x, steps)
        q = vae.encode(data)
        result = evaluate(vae, data, num_samples=40, seed=0, progress=False).per_datum
        found.append((vae.state_dict(), q.mean.detach(), q.stddev.detach(), torch.tensor(result.to_numpy())))
    for short, long in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(short, long, rtol=1e-10, atol=1e-10, equal_nan=True)
    assert len(found[0][1].unique(dim=0)) == 6  # and what is known does matter


@pytest.mark.parametrize("nets", [GRU, CONV], ids=["GRU", "Conv1d"])
@pytest.mark.parametrize(
    ("likelihood", "domain", "shape"),
    [
        (Gaussian, Domain("real"), (11,)),
        (partial(Gaussian, scale="decoder"), Domain("real"), (7, 2)),
        (Bernoulli, Domain("binary"), (9, 2)),
        (Categorical, Domain("categories", levels=4), (10,)),
    ],
    ids=["Gaussian", "scale of the decoder", "Bernoulli", "Categorical"],
)
@pytest.mark.parametrize("masked", [False, True])
def test_they_train(nets, likelihood, domain, shape, masked):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, *shape)) if domain.kind == "real" else rng.integers(0, domain.levels or 2, (40, *shape))
    x = x.astype(float)
    if masked:
        x[rng.random(len(x)) < 0.5, shape[0] // 2 :] = np.nan
    data = from_arrays(x, domain=domain, fractions=(0.5, 0.2, 0.3))
    assert data.masked == masked
    vae = build(data, latent_dim=[2, 2], likelihood=likelihood, **nets, seed=0)
    history = fit(vae, data, epochs=2, seed=0, progress=False).history
    assert np.isfinite(history.validation_elbo).all()
    assert evaluate(vae, data.test, num_samples=30, seed=0, progress=False).per_datum.log_px.notna().all()
    assert vae.sample(3).shape == (3, *shape)


def test_lists_of_sequences_are_padded(tmp_path):
    rng = np.random.default_rng(0)
    ragged = [rng.poisson(2.0, size=(rng.integers(3, 8), 2)) for _ in range(60)]
    ragged[0] = rng.poisson(2.0, size=(7, 2))
    data = from_arrays(ragged, x_test=[torch.ones(2, 2), torch.ones(9, 2)])
    missing = 100 * (1 - sum(map(len, ragged), 2 + 9) / (62 * 9))
    assert repr(data) == (
        f"Data('arrays', 54 + 6 + 2 data, x_shape=(9, 2), counts, {missing:.1f} % missing, padded to 9 steps)"
    )
    assert torch.equal(data.test.observed[0, :, 0], torch.arange(9) < 2)
    vae = build(data, latent_dim=2, **GRU, seed=0)
    fit(vae, data, epochs=1, seed=0, progress=False, run=tmp_path / "run")
    run = load(tmp_path / "run")
    new = run.prepare([[[1, 2], [0, 0]], [[3, 1]]])
    assert new.x.shape == (2, 9, 2)
    alone = run.prepare(np.array([[[3, 1]]]))
    torch.testing.assert_close(run.vae.encode(new).mean[1], run.vae.encode(alone).mean[0])
    with pytest.raises(ValueError, match=r"expects sequences \(t, ...\) of at most 9 steps .* got shapes \(10, 2\)"):
        run.prepare(np.ones((3, 10, 2)))
    with pytest.raises(ValueError, match=r"at most 3 steps that differ in their length alone, got shapes \(2, 2\)"):
        from_arrays([np.ones((2, 2)), np.ones((3, 1))])


def test_on_the_command_line(tmp_path, capsys):
    np.save(tmp_path / "waves.npy", np.random.default_rng(0).normal(size=(40, 12)))
    words = f"train --data {tmp_path / 'waves.npy'} --encoder GRUEncoder --encoder.hidden_dim 4 --decoder Conv1dDecoder"
    main([*words.split(), "--epochs", "1", "--run", str(tmp_path / "run"), "--device", "cpu"])
    assert "GRU(1, 4, batch_first=True, bidirectional=True)" in repr(load(tmp_path / "run").vae)
    assert "Fit(1 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("shape", [(5,), (5, 2)])
def test_padding_changes_nothing_of_categories_that_are_seen_one_hot(shape):
    x = with_ends((6, *shape)).gt(0).where(~with_ends((6, *shape)).isnan(), torch.nan)
    x, found = torch.where(x == 1, 2.0, x).double(), []
    for steps in (5, 8):
        described = DataSpec((steps, *shape[1:]), Domain("categories", 3), masked=True)
        vae = build(described, latent_dim=2, **GRU, likelihood=Categorical, seed=0).double()
        assert vae.posterior.net.gru.input_size == (3 + 1) * (x[0, 0].numel())
        found += [(vae.state_dict(), vae.encode(split(x, steps)).mean)]
        vae.load_state_dict(found[0][0])
        found[-1] = found[-1][0], vae.encode(split(x, steps)).mean
    assert torch.equal(found[0][1], found[1][1])
    assert len(found[0][1].unique(dim=0)) > 3  # what is known is read


@pytest.mark.parametrize("masked", [False, True])
def test_a_step_holds_the_codes_and_the_mask_of_its_numbers(masked):
    net = Conv1dEncoder((3 * 4 + 4 * masked, 2), (1,), levels=3, masked=masked)
    codes = torch.arange(24.0).reshape(4, 3, 2)  # (t, levels, d)
    mask = -torch.arange(8.0).reshape(4, 2)
    first = torch.cat([codes.flatten(0, 1), mask]) if masked else codes.flatten(0, 1)
    _, found = net._by_step(first)
    assert torch.equal(found[0], torch.cat([codes.flatten(1), mask], 1) if masked else codes.flatten(1))


def test_gaps_beside_columns_that_are_seen_one_hot_are_refused():
    mixed = Domain(("real", "categories"), (None, 3))
    with pytest.raises(ValueError, match=r"expects a mask of the shape of what it sees, got one of \(6, 2\)"):
        build(DataSpec((6, 2), mixed, masked=True), latent_dim=2, encoder=GRUEncoder)
    build(DataSpec((6, 2), mixed), latent_dim=2, encoder=GRUEncoder)
