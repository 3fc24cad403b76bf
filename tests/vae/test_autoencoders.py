"""Autoencoders by the parts of a VAE: linear ones against PCA, sparse, denoising, with a prior fitted afterwards."""

import copy
import json
import math
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from small_models import SMALL, ppca
from small_models import linear as weighted
from torch.testing import assert_close

from ppl_vae import (
    MLP,
    VAE,
    Bernoulli,
    Chain,
    CodePrior,
    DataSpec,
    DiagonalNormal,
    Domain,
    Flat,
    FlowPrior,
    Gaussian,
    GaussianMixture,
    Laplace,
    OneCycle,
    Point,
    Program,
    StandardNormal,
    VampPrior,
    build,
    data,
    evaluate,
    fit,
    traces,
)
from ppl_vae.corruptions import GaussianNoise, Masking, SaltAndPepper
from ppl_vae.distributions import positive
from ppl_vae.objectives import TraceMeanField_ELBO
from ppl_vae.posteriors import TopK, VectorQuantized
from ppl_vae.training import fit_prior, load
from ppl_vae.vae.build import rebuild

D, L, N = 10, 2, 500
LINEAR = partial(MLP, hidden_dims=())
CORRUPTIONS = [partial(GaussianNoise, scale=0.3), partial(Masking, rate=0.3), partial(SaltAndPepper, rate=0.3)]
each_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.func.__name__)


def normal_data():
    """Draws of probabilistic PCA with noise of sd 1, (N, D) in float64."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(D, L, generator=g, dtype=torch.float64) * torch.tensor([1.0, 0.5])
    noise, mean = (torch.randn(n, D, generator=g, dtype=torch.float64) for n in (N, 1))
    return torch.randn(N, L, generator=g, dtype=torch.float64) @ weight.T + noise + mean


def described(shape=(D,), kind="real", context=()):
    return DataSpec(shape, Domain(kind), context)


def trained(vae, x, steps=500, **settings):
    """To the optimum: every step on all data, the learning rate falling to nothing."""
    adam = partial(torch.optim.Adam, lr=0.2)
    fit(vae, [x] * 50, epochs=steps // 50, optimizer=adam, schedule=OneCycle(0.2), device="cpu", **settings)
    return vae


def test_a_linear_autoencoder_spans_the_pca_subspace():
    x = normal_data()
    parts = {"likelihood": partial(Gaussian, scale=1.0), "encoder": LINEAR, "decoder": LINEAR}
    vae = build(described(), latent_dim=L, prior=Flat, posterior=Point, seed=0, **parts).double()
    trained(vae, x)
    pca = PCA(L).fit(x.numpy())
    assert subspace_angles(vae.likelihood.net.layers[-1].weight.detach().numpy(), pca.components_.T).max() < 1e-3
    assert_close(vae.reconstruct(x).numpy(), pca.inverse_transform(pca.transform(x.numpy())), rtol=0, atol=1e-2)
    with pytest.raises(ValueError, match=r"proper prior, got Flat.*ppl_vae\.fit_prior"):
        vae.sample(4)
    drawn = fit_prior(vae, x, partial(GaussianMixture, num_components=1), epochs=3).sample(4000, seed=0, mean=True)
    assert ((drawn.mean(0) - x.mean(0)).abs() < 5 * drawn.std(0) / math.sqrt(len(drawn))).all()


def test_a_linear_vae_is_probabilistic_pca():
    x = normal_data()
    vae = build(described(), latent_dim=L, encoder=LINEAR, decoder=LINEAR, seed=0).double()
    trained(vae, x, objective=TraceMeanField_ELBO(8, vectorize_particles=True))
    layer, scale = vae.likelihood.net.layers[-1], positive(vae.likelihood.raw_scale)
    covariance = layer.weight @ layer.weight.T + scale.square() * torch.eye(D)
    log_px = dist.MultivariateNormal(layer.bias, covariance).log_prob(x).detach()
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T, ddof=0))[::-1]  # Tipping & Bishop 1999, equation 8 at its maximum
    noise = eigenvalues[L:].mean()
    best = -0.5 * (D * math.log(2 * math.pi) + np.log(eigenvalues[:L]).sum() + (D - L) * math.log(noise) + D)
    assert abs(best - PCA(L).fit(x.numpy()).score(x.numpy())) < 1e-4
    assert best - 1e-3 < log_px.mean().item() <= best + 1e-9
    result = evaluate(vae, x, num_samples=100, seed=0, progress=False)
    assert abs(result.per_datum.log_px.mean() - log_px.mean().item()) < 1e-3
    assert result.per_datum.elbo.mean() > best - 5e-3  # its posterior is diagonal at the optimum, so the bound is tight


def digits(**counts):
    return data.load("digits").binarize("threshold").take(**(counts or {"train": 256, "validation": 64, "test": 64}))


def small(loaded, latent_dim=8, **parts):
    return build(loaded, latent_dim=latent_dim, encoder=SMALL, decoder=SMALL, seed=0, **parts)


FAMILY = {
    "autoencoder": {"prior": Flat, "posterior": Point},
    "sparse": {"prior": Laplace, "posterior": Point},
    "k-sparse": {"prior": Flat, "posterior": partial(TopK, k=3)},
    "L2": {"prior": StandardNormal, "posterior": Point},
    "denoising": {"prior": Flat, "posterior": Point, "corruption": CORRUPTIONS[1]},
    "denoising VAE": {"corruption": CORRUPTIONS[2]},
}


@pytest.mark.parametrize("parts", FAMILY.values(), ids=FAMILY)
def test_the_family_reconstructs_digits(parts):
    loaded = digits()
    net = partial(MLP, hidden_dims=(64,))
    vae = build(loaded, latent_dim=8, encoder=net, decoder=net, seed=0, **parts)
    x = loaded.test.x

    def error():
        return (vae.reconstruct(x, seed=0) - x).square().mean()

    before, of_the_mean = error(), (loaded.train.x.mean(0) - x).square().mean()
    fit(vae, loaded, epochs=50, batch_size=64, optimizer=partial(torch.optim.Adam, lr=3e-3), device="cpu")
    assert error() < before
    assert error() < of_the_mean


@each_corruption
def test_a_corruption(corruption):
    made, x = corruption(), torch.rand(200, 500, dtype=torch.float64) + 0.5
    torch.manual_seed(1)
    seen = made(x)
    torch.manual_seed(1)
    assert made(x).equal(seen)
    assert not made(x).equal(seen)
    assert seen.dtype == x.dtype
    assert made(x.to("meta")).device.type == "meta"
    assert made.eval()(x) is x
    changed = (seen != x).double().mean().item()
    if isinstance(made, GaussianNoise):
        assert changed == 1
        assert_close((seen - x).std().item(), 0.3, rtol=0.01, atol=0)
        return
    assert abs(changed - 0.3) < 4 * math.sqrt(0.3 * 0.7 / x.numel())
    assert set(seen[seen != x].tolist()) == ({0.0} if isinstance(made, Masking) else {0.0, 1.0})


def test_corruptions_refuse():
    for rate in (0, -0.1, 1.1, math.nan):
        for cls in (Masking, SaltAndPepper):
            with pytest.raises(ValueError, match=f"{cls.__name__} expects rate .*above 0 and at most 1, got {rate};"):
                cls(rate)
    assert not Masking(1)(torch.ones(100)).any()
    for scale in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"GaussianNoise expects scale to be a number.*, got {scale}; the"):
            GaussianNoise(scale)
    with pytest.raises(ValueError, match="SaltAndPepper expects low < high, got low=1 and high=0; exchange"):
        SaltAndPepper(low=1, high=0)
    wrong = (partial(GaussianNoise, scale="a"), partial(Masking, rate=None), partial(SaltAndPepper, low="a"))
    for make, name in zip(wrong, ("scale", "rate", "low"), strict=True):
        with pytest.raises(TypeError, match=rf"{make.func.__name__} expects {name} to be a number.*, got .*; "):
            make()
    for x in torch.ones(3, dtype=torch.long), torch.ones(3, dtype=torch.bool):
        for corruption in GaussianNoise(), Masking(), SaltAndPepper():
            with pytest.raises(TypeError, match=rf"floating point, got {x.dtype}; convert it: x\.float"):
                corruption(x)
            assert corruption.eval()(x) is x


@pytest.mark.float32
@each_corruption
def test_only_the_guide_is_corrupted_and_only_in_training(corruption):
    loaded = digits()
    x = loaded.train.x[:20]
    clean, noisy = (small(loaded, prior=Flat, posterior=Point, corruption=c) for c in (None, corruption))
    assert list(clean.state_dict()) == list(noisy.state_dict())

    def pair(vae, **kwargs):
        with pyro.get_param_store().scope():
            model, guide = traces.pair(vae, x, **kwargs)
        return model.nodes["x"]["value"], guide.nodes["z"]["value"]

    code = pair(clean)[1]
    assert pair(noisy)[0].equal(x)  # what the model scores
    assert (pair(noisy)[1] != code).any(-1).all()
    assert not pair(noisy)[1].equal(pair(noisy)[1])
    blank = torch.zeros_like(x, dtype=torch.bool)
    assert pair(noisy, mask=blank)[1].equal(pair(clean, mask=blank)[1])  # what is missing stays so
    for own in (lambda vae: vae.encode(x).mean, lambda vae: vae.posterior_draw(x), lambda vae: vae.reconstruct(x)):
        assert own(noisy).equal(own(clean))
    assert noisy.training
    assert pair(noisy.eval())[1].equal(code)


@each_corruption
def test_denoising_trains_and_is_judged_on_clean_data(corruption, tmp_path):
    loaded = digits()
    vae = small(loaded, prior=Flat, posterior=Point, corruption=corruption)
    history = fit(vae, loaded, epochs=3, seed=0, device="cpu", run=tmp_path / "whole").history
    assert history.train_reconstruction[3] > history.train_reconstruction[1]
    said = evaluate(vae, loaded.validation, num_samples=1, seed=0, progress=False).per_datum.reconstruction.mean()
    assert_close(history.validation_reconstruction[3], said, rtol=1e-6, atol=0)
    clean = vae.decode(vae.encode(loaded.validation.x).mean).log_prob(loaded.validation.x).mean()
    assert_close(said, clean.double().item(), rtol=1e-6, atol=0)
    again = small(loaded, prior=Flat, posterior=Point, corruption=corruption)
    for epochs in (1, 3):  # interrupted, and resumed
        fit(again, loaded, epochs=epochs, seed=0, device="cpu", run=tmp_path / "parts", resume=True)
    assert all(map(torch.equal, vae.state_dict().values(), again.state_dict().values()))
    stored = load(tmp_path / "whole").vae
    assert repr(stored) == repr(vae)
    assert stored.reconstruct(loaded.test.x).equal(vae.reconstruct(loaded.test.x))


def test_recipes_know_the_corruption_and_older_ones_do_not():
    vae = small(digits(), corruption=partial(SaltAndPepper, rate=0.2))
    assert repr(vae).splitlines()[1] == (
        "q(z | x~) = DiagonalNormal, x~ = SaltAndPepper(x; rate=0.2, low=0, high=1) in training"
    )
    stored = json.loads(json.dumps(vae.recipe))
    assert rebuild(stored).corruption.rate == 0.2
    del stored["corruption"]
    assert rebuild(stored).corruption is None
    two = Chain(DiagonalNormal((3,), 2, SMALL, site="z2"), DiagonalNormal((2,), 2, SMALL, context=[(3,)], site="z1"))
    prior = Chain(StandardNormal(2, site="z2"), DiagonalNormal((2,), 2, SMALL, site="z1"))
    chained = VAE(prior, Gaussian(2, (3,), SMALL), two, Masking())
    assert "q(z2, z1 | x~) = DiagonalNormal(z2 | x~) DiagonalNormal(z1 | z2, x~), x~ = " in repr(chained)
    with pytest.raises(TypeError, match="expects corruption to be a class"):
        small(digits(), corruption=Masking())


def test_a_denoising_vaes_bound_is_one():
    known = ppca()  # whose guide, were it shown x, would be exact
    known.vae.corruption = GaussianNoise(scale=0.2)
    gaps = []
    for _ in range(400):
        with pyro.get_param_store().scope():
            model, guide = traces.pair(known.vae, known.x)
        where = traces.plates(model, len(known.x))
        p = sum(traces.log_prob(model.nodes[site], where)[0] for site in "zx")
        gaps.append(known.log_px - (p - traces.log_prob(guide.nodes["z"], where)[0]))
    gap = torch.stack(gaps).mean(1).detach()
    mean_map = known.vae.posterior.net[0].weight  # KL(q(z | x~) || p(z | x)) = e^T M^T C^-1 M e / 2 for x~ = x + e
    expected = 0.5 * 0.2**2 * (mean_map.T @ torch.linalg.solve(known.covariance, mean_map)).trace().item()
    assert expected > 0.05
    assert abs(gap.mean().item() - expected) < 4 * gap.std().item() / math.sqrt(len(gap))
    known.vae.eval()
    with pyro.get_param_store().scope():
        loss = Trace_ELBO(10).loss(known.vae.model, known.vae.guide, known.x)
    assert_close(-loss, known.log_px.sum().item(), rtol=1e-10, atol=0)  # exact again


def test_top_k_keeps_the_largest_and_trains_them_alone():
    x = torch.randn(50, 6)
    sparse, full = TopK((6,), 5, SMALL, k=2), Point((6,), 5, SMALL)
    full.load_state_dict(sparse.state_dict())
    code, whole = sparse.given(x).mean, full.given(x).mean
    assert ((code != 0).sum(-1) == 2).all()
    kept = code != 0
    assert code[kept].equal(whole[kept])
    assert (whole.abs().masked_fill(~kept, math.inf).amin(-1) >= whole.abs().masked_fill(kept, 0).amax(-1)).all()
    params = torch.randn(4, 1, 5, requires_grad=True)
    sparse.distribution(params).mean.exp().sum().backward()
    assert ((params.grad[:, 0] != 0) == (sparse.distribution(params).mean != 0)).all()
    for k in (0, 6):
        with pytest.raises(ValueError, match=f"TopK expects k .*, got {k}; "):
            TopK((6,), 5, k=k)


def on_codes(z):
    """An autoencoder whose codes are its data."""
    eye = weighted(torch.eye(z.shape[1], dtype=torch.float64))
    return VAE(Flat(2), Gaussian(2, (2,), eye, scale=1.0), Point((2,), 2, eye)).double()


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (50.0, 30.0), (-3.0, 0.01)])
def test_fitted_priors_come_near_the_truth_wherever_the_codes_lie(offset, scale):
    centres = torch.tensor([[-1.2, 0.0], [1.0, 1.0], [0.5, -1.2]], dtype=torch.float64)
    spread = torch.tensor([0.2, 0.35], dtype=torch.float64).expand(3, 2)
    normals = dist.Normal(offset + scale * centres, scale * spread).to_event(1)
    truth = dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.5, 0.3, 0.2]).double()), normals)
    torch.manual_seed(0)
    train, held_out = truth.sample([1000]), truth.sample([2000])
    vae = on_codes(train)

    def gap(prior, epochs):
        fitted = fit_prior(vae, train, prior, epochs=epochs).prior.given()
        return (truth.log_prob(held_out) - fitted.log_prob(held_out)).mean().item()

    assert gap(partial(GaussianMixture, num_components=3), 10) < 0.06  # 14 parameters of 1,000 data cost 0.007
    normal = dist.MultivariateNormal(train.mean(0), torch.cov(train.T))
    best_normal = (truth.log_prob(held_out) - normal.log_prob(held_out)).mean().item()
    assert gap(FlowPrior, 20) < best_normal - 0.1


def test_a_fitted_prior_tightens_a_vaes_bound():
    loaded = digits()
    vae = small(loaded, latent_dim=2)
    fit(vae, loaded, epochs=20, optimizer=partial(torch.optim.Adam, lr=1e-2), device="cpu")
    for prior in partial(GaussianMixture, num_components=4), partial(VampPrior, num_components=20):
        new = fit_prior(vae, loaded, prior, epochs=20, patience=10, seed=1)
        before, after = (evaluate(v, loaded.train, num_samples=50, seed=0, progress=False) for v in (vae, new))
        assert after.per_datum.elbo.mean() > before.per_datum.elbo.mean()
        assert_close(after.per_datum.reconstruction.mean(), before.per_datum.reconstruction.mean(), rtol=0, atol=0.1)
        again = rebuild(json.loads(json.dumps(new.recipe)))
        again.load_state_dict(new.state_dict())
        assert again.sample(3, seed=0).equal(new.sample(3, seed=0))
        assert new.sample(3, seed=0).equal(
            fit_prior(vae, loaded, prior, epochs=20, patience=10, seed=1).sample(3, seed=0)
        )


def test_the_weights_of_codes_are_a_prior_fitted_afterwards():
    loaded = digits()
    vae = small(loaded, latent_dim=4, prior=CodePrior, posterior=partial(VectorQuantized, num_codes=8)).eval()
    new = fit_prior(vae, loaded.train, partial(CodePrior, weighted=True), epochs=60, learning_rate=0.1)
    z = vae.posterior_draw(loaded.train.x)
    counts = z.unique(dim=0, return_counts=True)[1] / len(z)
    entropy = -(counts * counts.log()).sum().item()
    assert_close(new.prior.given().log_prob(z).mean().item(), -entropy, rtol=0, atol=0.01)
    assert all(map(torch.equal, vae.posterior.state_dict().values(), new.posterior.state_dict().values()))


class Batched(torch.nn.Module):
    """A network that train mode would change, and that drops out."""

    def __init__(self, in_shape, out_shape, context=()):
        super().__init__()
        self.norm, self.drop = torch.nn.BatchNorm1d(64), torch.nn.Dropout(0.5)
        self.head = MLP((64,), out_shape, context=context, hidden_dims=[8])

    def forward(self, x, *context):
        return self.head(self.drop(self.norm(x.flatten(1))), *context)


@pytest.mark.parametrize("posterior", [Point, DiagonalNormal])
def test_fitting_a_prior_changes_nothing_else(posterior):
    loaded = digits().condition_on_labels()
    vae = build(loaded, latent_dim=2, posterior=posterior, encoder=Batched, decoder=SMALL, corruption=Masking, seed=0)
    vae.likelihood.eval()
    x, context, mask = loaded.train.x, loaded.train.context, loaded.train.x < 2
    mask[:, :, :4] = False
    x = torch.where(mask, x, math.nan)
    pyro.param("another's", torch.ones(2))
    weights = copy.deepcopy(vae.state_dict())
    modes, said = {n: m.training for n, m in vae.named_modules()}, repr(vae)
    state = torch.get_rng_state()
    new = fit_prior(vae, x, FlowPrior, *context, mask=mask, epochs=2)
    assert torch.get_rng_state().equal(state)
    assert list(pyro.get_param_store()) == ["another's"]
    assert all(map(torch.equal, weights.values(), vae.state_dict().values()))
    assert (repr(vae), {n: m.training for n, m in vae.named_modules()}) == (said, modes)
    assert new.training
    assert not new.likelihood.training
    assert all(p.requires_grad and p.grad is None for p in new.parameters())
    kept = {n: t for n, t in new.state_dict().items() if not n.startswith("prior")}
    assert all(weights[n].equal(t) for n, t in kept.items())
    assert repr(new).startswith("p(x, z | c) = FlowPrior(z | c; 4) Bernoulli(x | z, c)\n")
    assert new.sample(len(x), *context, seed=0).shape == x.shape


@pytest.mark.parametrize("prior", [partial(GaussianMixture, num_components=3), StandardNormal])
def test_a_fitted_prior_is_kept_with_the_rest(prior, tmp_path):
    loaded = digits()
    vae = small(loaded, prior=Flat, posterior=Point, corruption=Masking)
    new = fit_prior(vae, loaded, prior, epochs=2, run=tmp_path)
    stored = load(tmp_path)
    assert repr(stored.vae) == repr(new)
    assert all(map(torch.equal, stored.vae.state_dict().values(), new.state_dict().values()))
    assert stored.vae.sample(3, seed=0).equal(new.sample(3, seed=0))
    assert stored.config["recipe"] == new.recipe
    assert [said["split"] for said in stored.config["data"]] == ["train", "validation"]
    terms = [name for name in stored.history if name.endswith("prior_term")]
    assert terms == ([] if prior is StandardNormal else ["train_prior_term", "validation_prior_term"])
    assert not any("elbo" in name or "reconstruction" in name for name in stored.history)
    with pytest.raises(ValueError, match=r"fit_prior expects a run folder without a training, got .*; choose another"):
        fit_prior(vae, loaded, prior, run=tmp_path)
    with pytest.raises(ValueError, match=r"resume expects the training that the folder holds, got another fit\."):
        fit(new, loaded, epochs=2, run=tmp_path, resume=True, device="cpu")


def test_fit_prior_refuses(monkeypatch):
    loaded = digits()
    vae = small(loaded, prior=Flat, posterior=Point)
    with pytest.raises(ValueError, match=r"^a mixture expects.*point masses \(Point.*use another posterior or"):
        fit_prior(vae, loaded, VampPrior)
    with pytest.raises(ValueError, match=r"expects a proper prior, got Flat, which has nothing to fit; fit Gaussian"):
        fit_prior(vae, loaded, Flat)
    with pytest.raises(TypeError, match=r"^fit_prior expects prior to be a class"):
        fit_prior(vae, loaded, StandardNormal(8))
    with pytest.raises(TypeError, match="fit_prior expects vae to be a VAE, got Program"):
        fit_prior(Program(vae.model, vae.guide), loaded, GaussianMixture)
    levels = Chain(StandardNormal(2, site="z2"), DiagonalNormal((2,), 2, SMALL, site="z1"))
    chained = VAE(levels, Bernoulli(2, (1, 8, 8), SMALL), DiagonalNormal((1, 8, 8), 2, SMALL))
    with pytest.raises(TypeError, match="with one latent site, got sites z2, z1; fit such a prior with the rest"):
        fit_prior(chained, loaded, GaussianMixture)
    sparse, seen = small(loaded, prior=Flat, posterior=partial(TopK, k=3)), []
    for prior in GaussianMixture, FlowPrior:
        with pytest.raises(ValueError, match=r"fit_prior expects codes with a density, got exact zeros.*TopK.*Laplace"):
            fit_prior(sparse, loaded, prior)
    assert fit_prior(sparse, loaded, Laplace).sample(2, seed=0).shape == (2, 1, 8, 8)
    codes = small(loaded, prior=CodePrior, posterior=VectorQuantized)
    monkeypatch.setattr(GaussianMixture, "start_from", lambda *_: seen.append("started"))
    for prior in GaussianMixture, StandardNormal:
        with pytest.raises(ValueError, match="both masses or both densities, got a mass and a density at 'z'"):
            fit_prior(codes, loaded, prior)
    assert not seen  # nothing was computed for it
    monkeypatch.undo()
    with pytest.raises(ValueError, match="for each component to start from, got 5 data and 10 components; give num_c"):
        fit_prior(vae, loaded.train.x[:5], GaussianMixture)
    plain = fit_prior(vae, loaded, StandardNormal)
    assert plain.recipe["prior"]["class"] == "StandardNormal"
    assert plain.sample(2, seed=0).shape == (2, 1, 8, 8)
    assert all(p.requires_grad for p in plain.parameters())


def test_top_k_keeps_the_first_of_equals():
    code = TopK((3,), 40, k=3).distribution(torch.ones(2, 1, 40)).mean
    assert torch.equal(code, (torch.arange(40) < 3).float().expand(2, 40))
