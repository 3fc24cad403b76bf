"""Walks on the decoded manifold: against spheres, cylinders and rolls whose geodesics are known."""

import math

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from scipy.stats import laplace, norm
from small_models import conditional, ppca
from torch import nn

from ppl_vae import (
    VAE,
    Bernoulli,
    Chain,
    DiagonalNormal,
    Flat,
    Gaussian,
    Laplace,
    Point,
    StandardNormal,
    build,
    data,
    fit,
    posteriors,
    priors,
)
from ppl_vae.cli.animation import gif
from ppl_vae.conditional import Conditional
from ppl_vae.manifold import code_grid, decoded, geodesic, interpolate, magnification, metric, smoothness, traverse
from ppl_vae.manifold.code_graph import CodeGraph
from ppl_vae.nets import MLP
from ppl_vae.posteriors import VectorQuantized
from ppl_vae.priors import AutoregressiveCodePrior, CodePrior, FlowPrior, GaussianMixture, VampPrior

STEPS = 61


def surface(f, x_dim=3):
    """A VAE whose decoder's mean is a known map of the plane, in float64."""

    class Surface(nn.Module):
        def forward(self, z):
            return torch.stack(f(*z.unbind(-1)), -1).unsqueeze(-2)

    likelihood = Gaussian(2, (x_dim,), lambda *shapes: Surface())
    return VAE(StandardNormal(2), likelihood, DiagonalNormal((x_dim,), 2)).double()


def sphere(radius=2.0):
    return surface(
        lambda lat, lon: (radius * lat.cos() * lon.cos(), radius * lat.cos() * lon.sin(), radius * lat.sin())
    )


def swiss_roll():
    return surface(lambda t, h: (t * t.cos(), h, t * t.sin()))


def hill(height=10.0):
    return surface(lambda x, y: (x, y, height * (-(x**2 + y**2) / 2).exp()))


def vec(*values):
    return torch.tensor(values, dtype=torch.float64)


def arc_of_chords(angle, steps):
    """Length of a polygon with even corners on an arc of the unit circle."""
    return 2 * (steps - 1) * math.sin(angle / 2 / (steps - 1))


def roll_arc(t):
    return (t * math.sqrt(1 + t * t) + math.asinh(t)) / 2


@pytest.fixture(scope="module")
def digits():
    """A VAE and an autoencoder with two-dimensional codes, and codes of data."""
    d = data.load("digits", likelihood=Gaussian)
    found = {}
    for name, parts in {"vae": {}, "autoencoder": {"prior": Flat, "posterior": Point}}.items():
        vae = build(d, latent_dim=2, likelihood=Gaussian, seed=0, **parts)
        fit(vae, d, epochs=15, seed=0, device="cpu", progress=False)
        found[name] = vae, vae.encode(d.test.fixed().x).mean.detach()
    return found


class TestGeodesics:
    def test_of_a_linear_decoder_are_straight(self):
        vae = ppca(dim=5, latent_dim=3).vae
        a, b = torch.randn(2, 4, 3).double()
        found = geodesic(vae, a, b, steps=STEPS)
        torch.testing.assert_close(found.z, interpolate(a, b, STEPS), atol=1e-6, rtol=0)
        torch.testing.assert_close(found.length, found.straight, rtol=1e-9, atol=0)
        assert found.converged.all()

    @pytest.mark.parametrize(("a", "b"), [((0.9, -1.0), (0.8, 1.2)), ((-0.5, 0.0), (1.2, 2.0))])
    def test_of_a_sphere_are_great_circles(self, a, b):
        radius, a, b = 2.0, vec(*a), vec(*b)
        vae = sphere(radius)
        found = geodesic(vae, a, b, steps=STEPS, tolerance=1e-8, max_iter=2000)
        ends = decoded(vae, torch.stack([a, b])) / radius
        angle = torch.dot(*ends).acos().item()
        assert found.length.item() == pytest.approx(radius * arc_of_chords(angle, STEPS), rel=1e-6)
        assert found.straight.item() > 1.05 * radius * angle
        normal = torch.linalg.cross(*ends)
        off_plane = decoded(vae, found.z) @ (normal / normal.norm())
        assert off_plane.abs().max() < 1e-2

    def test_of_a_swiss_roll_are_straight_in_arc_length(self):
        a, b = vec(1.0, 0.0), vec(12.0, 40.0)
        vae = swiss_roll()
        found = geodesic(vae, a, b, steps=201, tolerance=1e-8, max_iter=2000)
        length = math.hypot(roll_arc(12.0) - roll_arc(1.0), 40.0)
        assert found.length.item() == pytest.approx(length, rel=1e-3)  # chords cut corners by (step / radius)^2 / 24
        assert found.length.item() < length
        assert found.straight.item() > 1.005 * length

    def test_have_even_steps(self):
        found = geodesic(sphere(), vec(0.9, -1.0), vec(0.8, 1.2), steps=STEPS, tolerance=1e-8)
        assert smoothness(sphere(), found.z).unevenness.item() == pytest.approx(1, abs=1e-3)

    def test_go_around_a_hill_through_codes(self):
        """The straight line over the top is a stationary point, by symmetry: a start elsewhere finds the way around."""
        a, b = vec(-4.0, 0.0), vec(4.0, 0.0)
        over = geodesic(hill(), a, b)
        torch.testing.assert_close(over.z[:, 1], torch.zeros(STEPS).double(), atol=1e-6, rtol=0)
        codes = 2.5 * torch.randn(1000, 2).double()
        around = geodesic(hill(), a, b, through=codes)
        assert around.from_graph.item()
        assert not over.from_graph.item()
        assert around.length < 0.6 * over.length
        assert around.converged.item()

    @pytest.mark.parametrize("name", ["vae", "autoencoder"])
    def test_of_trained_decoders_are_no_longer_than_lines(self, digits, name):
        vae, codes = digits[name]
        a, b = codes[:10], codes[10:20]
        found = geodesic(vae, a, b, through=codes)
        measured = smoothness(vae, found.z).length
        straight = smoothness(vae, interpolate(a, b, STEPS)).length
        assert np.allclose(measured, found.length, rtol=1e-5)
        assert np.allclose(straight, found.straight, rtol=1e-5)
        assert (found.length <= found.straight).all()
        assert (measured < straight).mean() > 0.9
        assert torch.equal(found.z[:, 0], a)
        assert torch.equal(found.z[:, -1], b)

    def test_do_not_depend_on_other_pairs(self, digits):
        vae, codes = digits["vae"]
        together = geodesic(vae, codes[:4].reshape(2, 2, 2), codes[4:8].reshape(2, 2, 2), steps=20)
        alone = geodesic(vae, codes[2], codes[6], steps=20)
        assert together.z.shape == (2, 2, 20, 2)
        assert torch.equal(together.z[1, 0], alone.z)
        assert together.length.shape == together.converged.shape == (2, 2)

    def test_leave_everything_as_it_was(self, digits):
        vae, codes = digits["vae"]
        vae.train()
        before = {name: p.clone() for name, p in vae.state_dict().items()}
        state = torch.get_rng_state()
        with torch.no_grad():  # still finds its gradients
            found = geodesic(vae, codes[0], codes[1], steps=10)
            smoothness(vae, found.z)
            magnification(vae, codes[:3])
            code_grid(vae, 3)
        assert all(torch.equal(before[name], p) for name, p in vae.state_dict().items())
        assert all(p.requires_grad and p.grad is None for p in vae.parameters())
        assert vae.likelihood.training
        assert torch.equal(torch.get_rng_state(), state)
        assert not found.z.requires_grad

    def test_of_a_code_to_itself_stay(self, digits):
        vae, codes = digits["vae"]
        found = geodesic(vae, codes[0], codes[0], steps=5)
        assert torch.equal(found.z, codes[0].expand(5, 2))
        assert found.length.item() < 1e-5
        assert found.converged.item()

    def test_hold_the_context(self):
        case = conditional()
        a, b = torch.randn(2, 6, 2).double()
        found = geodesic(case.program, a, b, *case.context, steps=12)
        alone = geodesic(case.program, a[1], b[1], case.context[0][1], steps=12)
        torch.testing.assert_close(found.z[1], alone.z)
        measured = smoothness(case.program, found.z, *case.context, max_rows=24)
        assert np.allclose(measured.length, found.length)
        other = smoothness(case.program, found.z, case.context[0].roll(1, 0)).length
        assert not np.allclose(measured.length, other, rtol=1e-3)
        with pytest.raises(ValueError, match="leave out through"):
            geodesic(case.program, a, b, *case.context, through=a)

    def test_refusals(self):
        a, b = vec(0.0, 1.0), vec(1.0, 1.0)
        with pytest.raises(ValueError, match=r"finite.*got"):
            geodesic(sphere(), a, b * math.nan)
        with pytest.raises(TypeError, match=r"geodesic expects codes as tensors of floats .*, got ndarray; convert"):
            geodesic(sphere(), a.numpy(), b)
        for through in (torch.zeros(5, 3), torch.zeros(5), torch.zeros(0, 2), torch.full((5, 2), math.inf)):
            with pytest.raises(ValueError, match=r"codes .*got shape"):
                geodesic(sphere(), a, b, through=through)

    def test_codes_of_the_graph_have_as_many_neighbours_as_asked(self):
        """Of codes on a line, the nearest of each: none is its own."""
        codes = torch.stack([vec(0.0, 1.0, 3.0, 6.0), vec(0.0, 0.0, 0.0, 0.0)], -1)
        graph = CodeGraph(hill(0.0), codes, num_neighbours=1)
        edges = {(i, j) for i, j in zip(graph._from, graph._to, strict=True) if i != j}
        assert edges == {(0, 1), (1, 0), (2, 1), (3, 2)}
        assert graph.path(vec(-1.0, 0.0), vec(7.0, 0.0), 5) is not None


class TestMetric:
    def test_of_a_sphere(self):
        z = vec(0.3, 2.0)
        expected = torch.diag(vec(4.0, 4.0 * math.cos(0.3) ** 2))
        torch.testing.assert_close(metric(sphere(), z), expected)
        assert magnification(sphere(), z).item() == pytest.approx(4 * math.cos(0.3))

    @pytest.mark.parametrize("likelihood", [Bernoulli, Gaussian])
    def test_against_autograd(self, likelihood):
        vae = VAE(StandardNormal(3), likelihood(3, (1, 4, 4), MLP), DiagonalNormal((1, 4, 4), 3)).double()
        z = torch.randn(2, 5, 3).double()
        found = metric(vae, z)
        for i in np.ndindex(2, 5):
            jacobian = torch.autograd.functional.jacobian(lambda z: decoded(vae, z).flatten(), z[i])
            torch.testing.assert_close(found[i], jacobian.T @ jacobian)
        torch.testing.assert_close(magnification(vae, z), torch.linalg.det(found).sqrt())

    def test_refusals(self):
        for f in (decoded, metric, magnification):
            with pytest.raises(TypeError, match=f"{f.__name__} expects codes as tensors of floats .* torch.int64"):
                f(sphere(), torch.zeros(2, dtype=torch.long))
            with pytest.raises(TypeError, match=f"{f.__name__} expects vae to be a VAE"):
                f(nn.Linear(2, 3), torch.zeros(2))

    def test_in_raw_units(self, digits):
        vae, codes = digits["vae"]
        x = decoded(vae, codes)
        assert -5 < x.min() < 3 < 10 < x.max() < 22  # levels 0 to 16, dequantized; standardized values are below 5


class TestSmoothness:
    def test_counts_by_hand(self):
        vae = surface(lambda x, y: (x, y, 0 * x))
        z = vec(0, 0, 3, 4, 3, 5).reshape(3, 2)
        expected = {"length": 6, "largest_step": 5, "unevenness": 5 / 3, "distance": math.sqrt(34)}
        expected["detour"] = 6 / math.sqrt(34)
        found = smoothness(vae, z)
        pd.testing.assert_frame_equal(found, pd.DataFrame(expected, index=[0]).rename_axis("walk").astype(float))

    def test_length_does_not_depend_on_the_speed(self):
        a, b = vec(5.0, 0.0), vec(12.0, 15.0)
        t = torch.linspace(0, 1, 4001, dtype=torch.float64).unsqueeze(-1)
        even, slow_start = (smoothness(swiss_roll(), torch.lerp(a, b, s)) for s in (t, t**3))
        assert even.length.item() == pytest.approx(slow_start.length.item(), rel=1e-5)
        assert slow_start.unevenness.item() > 2 * even.unevenness.item()

    def test_refuses_what_is_no_walk(self):
        with pytest.raises(ValueError, match="two steps or more"):
            smoothness(sphere(), vec(0.0, 1.0))
        with pytest.raises(TypeError, match="expects vae to be a VAE"):
            smoothness(nn.Linear(2, 3), torch.zeros(3, 2))


class TestInterpolate:
    def test_arcs_keep_the_norm_and_turn_evenly(self):
        a, b = (v / v.norm(dim=-1, keepdim=True) * 3 for v in torch.randn(2, 50, 8).double())
        z = interpolate(a, b, 11, kind="spherical")
        torch.testing.assert_close(z.norm(dim=-1), torch.full((50, 11), 3.0).double())
        chords = z.diff(dim=1).norm(dim=-1)
        torch.testing.assert_close(chords, chords[:, :1].expand_as(chords))
        t = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
        angle = ((a * b).sum(-1) / 9).acos()[:, None, None]
        usual = (((1 - t) * angle).sin() * a[:, None] + (t * angle).sin() * b[:, None]) / angle.sin()
        torch.testing.assert_close(z, usual)

    @pytest.mark.parametrize("b", [(2.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)])
    def test_arcs_between_parallel_codes_are_lines(self, b):
        a, b = vec(1.0, 0.0, 0.0), vec(*b)
        torch.testing.assert_close(interpolate(a, b, 5, kind="spherical"), interpolate(a, b, 5))
        torch.testing.assert_close(interpolate(b, a, 5, kind="spherical"), interpolate(b, a, 5))

    def test_arcs_between_opposite_codes_go_around(self):
        a = torch.randn(20, 4)
        z = interpolate(a, -2 * a, 9, kind="spherical")
        norm = a.norm(dim=-1, keepdim=True) * torch.linspace(1, 2, 9)
        torch.testing.assert_close(z.norm(dim=-1), norm)
        assert torch.equal(z[:, -1], -2 * a)

    def test_one_unit_has_no_arc(self):
        a, b = vec(1.0), vec(-1.0)
        assert torch.equal(interpolate(a, b, 5, kind="spherical"), interpolate(a, b, 5))

    def test_refusals(self):
        with pytest.raises(ValueError, match="'linear' or 'spherical'"):
            interpolate(vec(0.0, 1.0), vec(1.0, 1.0), 5, kind="cubic")
        with pytest.raises(ValueError, match="two steps"):
            interpolate(vec(0.0, 1.0), vec(1.0, 1.0), 1)
        with pytest.raises(ValueError, match="one dimension"):
            interpolate(vec(0.0, 1.0), vec(1.0), 5)
        with pytest.raises(ValueError, match=r"from \(2, 3\) to \(4, 3\); give ends .* that broadcast"):
            interpolate(torch.zeros(2, 3), torch.zeros(4, 3), 5)
        for end in (torch.tensor([0, 1]), np.zeros(2), torch.tensor(0.0)):
            with pytest.raises(TypeError, match="interpolate expects codes as tensors of floats"):
                interpolate(vec(0.0, 1.0), end, 5)


class TestGrid:
    @staticmethod
    def of(prior):
        return VAE(prior, Gaussian(2, (3,)), DiagonalNormal((3,), 2))

    @pytest.mark.parametrize(("prior", "cdf"), [(StandardNormal, norm.cdf), (Laplace, laplace(scale=0.5**0.5).cdf)])
    def test_runs_through_quantiles(self, prior, cdf):
        grid = code_grid(self.of(prior(2)), 5)
        levels = (np.arange(5) + 0.5) / 5
        assert grid.shape == (5, 5, 2)
        assert np.allclose(cdf(grid[2, :, 0].numpy()), levels, atol=1e-6)
        assert np.allclose(cdf(grid[:, 2, 1].numpy()), levels[::-1], atol=1e-6)

    def test_of_any_other_prior_runs_through_those_of_its_draws(self):
        mixture = GaussianMixture(2, num_components=3)
        chain = Chain(StandardNormal(2, site="z2"), Shifted(site="z1"))
        for prior, draws in (
            (mixture, mixture.given().sample((200_000,))),
            (chain, 5 + 2**0.5 * torch.randn(200_000, 2)),
        ):
            expected = draws.quantile(torch.tensor([0.25, 0.75]), dim=0)
            grid = code_grid(self.of(prior), 2)
            # standard error of a quantile: sqrt(p (1 - p) / n) / density, here below 0.05
            torch.testing.assert_close(grid[0, :, 0], expected[:, 0], atol=0.15, rtol=0)
            torch.testing.assert_close(grid[:, 0, 1], expected[:, 1].flip(0), atol=0.15, rtol=0)
            assert torch.equal(grid, code_grid(self.of(prior), 2))

    def test_of_an_autoencoder_runs_through_its_codes(self, digits):
        vae, codes = digits["autoencoder"]
        with pytest.raises(ValueError, match="give codes="):
            code_grid(vae, 5)
        grid = code_grid(vae, 5, codes=codes)
        torch.testing.assert_close(grid[2, 2], codes.median(0).values, atol=0.1, rtol=0.1)

    def test_refusals(self):
        with pytest.raises(ValueError, match="two units"):
            code_grid(VAE(StandardNormal(3), Gaussian(3, (3,)), DiagonalNormal((3,), 3)), 4)
        with pytest.raises(ValueError, match="side to be a whole number from 1 on"):
            code_grid(self.of(StandardNormal(2)), 0)
        q = VectorQuantized((3,), 2, num_codes=4)
        for codes in (None, torch.zeros(4, 2)):
            with pytest.raises(ValueError, match="CodePrior, a mass: a grid would lie between its codes"):
                code_grid(VAE(CodePrior(q), Gaussian(2, (3,)), q), 4, codes=codes)
        q = VectorQuantized((3,), 2, num_codes=4, groups=2)
        for prior, posterior in (
            (AutoregressiveCodePrior(q), q),
            (priors.Bernoulli(2), posteriors.Bernoulli((3,), 2)),
        ):
            with pytest.raises(ValueError, match=f"got {type(prior).__name__}, a mass"):
                code_grid(VAE(prior, Gaussian(2, (3,)), posterior), 4)

    def test_of_a_conditional_prior_needs_its_context(self):
        given = [(3,)]
        q = DiagonalNormal((5,), 2, context=given)
        context = torch.ones(3)
        for prior in (
            FlowPrior(2, context=given),
            VampPrior(q, (5,), num_components=4),
            DiagonalNormal((3,), 2, site="z"),
        ):
            vae = VAE(prior, Gaussian(2, (5,), context=given), q)
            with torch.no_grad():
                draws = prior.given(context.expand(50_000, 3)).sample()
            low, high = draws.quantile(torch.tensor([0.25, 0.75]), dim=0)
            grid = code_grid(vae, 2, context)
            size = (high - low).max()
            assert (grid[1, 0] - low).abs().max() < 0.1 * size
            assert (grid[0, 1] - high).abs().max() < 0.1 * size
            for wrong in ((), (context[:2],), (context, context)):
                with pytest.raises(ValueError, match="a prior that can be sampled, given its context, got"):
                    code_grid(vae, 2, *wrong)

    def test_traversals_move_one_unit(self):
        z, values = torch.randn(3), torch.randn(3, 4)
        for walks in (traverse(z, values), traverse(z, values[0])):
            moved = (walks != z).any(1)
            assert torch.equal(moved, torch.eye(3, dtype=torch.bool))
        assert torch.equal(traverse(z, values)[1, :, 1], values[1])
        assert torch.equal(traverse(z, np.arange(4)), traverse(z, torch.arange(4.0)))
        for code, taken in ((z, values[:2]), (torch.randn(5, 3), values)):
            with pytest.raises(ValueError, match=r"one code \(latent_dim,\) and values \(steps,\)"):
                traverse(code, taken)
        with pytest.raises(TypeError, match="traverse expects values to be an array"):
            traverse(z, values[0, 0])
        with pytest.raises(TypeError, match="traverse expects codes as tensors of floats"):
            traverse(torch.tensor([0, 1, 2]), values)


class Shifted(Conditional):
    """p(z1 | z2) = N(z2 + 5, I)."""

    def given(self, *context):
        return dist.Normal(context[0] + 5, 1.0).to_event(1)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_gif_is_read_back(tmp_path, channels):
    frames = np.full((5, 8, 12, *channels), 50, dtype=np.uint8) * np.arange(5, dtype=np.uint8).reshape(
        5, 1, 1, *(1,) * len(channels)
    )
    if channels:
        frames[:, 0] = 200, 30, 30
    gif(frames, tmp_path / "new" / "a.gif", seconds=0.2)
    with Image.open(tmp_path / "new" / "a.gif") as picture:
        assert (picture.n_frames, picture.size, picture.info["duration"]) == (5, (12, 8), 200)
        for i in range(5):
            picture.seek(i)
            seen = np.array(picture.convert("RGB")).astype(int)
            assert np.abs(seen[4, 4] - 50 * i).max() <= (5 if channels else 0)  # the nearest grey of 64, about
            assert not channels or np.abs(seen[0, 4] - (200, 30, 30)).max() <= 4
    with pytest.raises(ValueError, match="8-bit frames"):
        gif(frames.astype(float), tmp_path / "b.gif")
