"""Quantizers of vector-quantize-pytorch on codes, and a prior of which each code depends on those before."""

import copy
import itertools
import sys
from functools import partial

import pytest
import torch
from matrix import described, loss
from scipy import stats
from torch.distributions import kl_divergence
from torch.testing import assert_close

from ppl_vae import (
    AutoregressiveCodePrior,
    CodePrior,
    FiniteScalar,
    LookupFree,
    ResidualQuantized,
    VectorQuantized,
    build,
    data,
    evaluate,
    fit,
    fit_prior,
    load,
)
from ppl_vae.nets import MLP
from ppl_vae.objectives import Commitment

SMALL = partial(MLP, hidden_dims=[16], activation="tanh")
LEAVES = {
    "finite scalar": (partial(FiniteScalar, num_levels=4), 3),
    "two levels": (partial(FiniteScalar, num_levels=2), 3),
    "lookup-free": (LookupFree, 3),
    "residual": (partial(ResidualQuantized, num_codes=5, groups=2), 4),
}
each = pytest.mark.parametrize("name", LEAVES)
P = 1e-5


def vae_of(name, prior=CodePrior):
    posterior, dim = LEAVES[name]
    return build(described(), latent_dim=dim, prior=prior, posterior=posterior, encoder=SMALL, decoder=SMALL, seed=0)


@each
def test_draws_are_the_codes_of_the_library_and_have_a_gradient(name):
    vae = vae_of(name).eval()
    q, x = vae.posterior, torch.rand(30, 1, 4, 4)
    params = (9 * q.net(x)).detach().requires_grad_()
    z = q.distribution(params).rsample()
    assert q.distribution(params).support.check(z).all()
    encoding = params[..., 0, :]
    if name == "residual":
        expected = q.quantizer(encoding[None])[0][0]
        assert_close(z.unflatten(-1, (2, -1)).sum(-2), expected)
    elif name == "lookup-free":
        assert torch.equal(z, encoding.sign())
    else:
        assert_close(z, q.quantizer(encoding[None])[0][0])
        assert z.unique().numel() == q.num_codes
    (gradient,) = torch.autograd.grad(z.sum(), params)
    assert gradient.isfinite().all()
    assert gradient.any()
    log_p = vae.prior.given().log_prob(z)
    assert_close(log_p, torch.full_like(log_p, -q.groups * torch.tensor(float(q.num_codes)).log()))


@each
def test_they_train_say_the_use_of_their_codes_and_are_stored(name, tmp_path):
    digits = data.load("digits").binarize("threshold").take(100, 50, 30)
    posterior, dim = LEAVES[name]
    vae = build(digits, latent_dim=dim, prior=CodePrior, posterior=posterior, encoder=SMALL, decoder=SMALL, seed=0)
    before = evaluate(vae, digits.test, num_samples=5, seed=0, progress=False)
    settings = {"epochs": 6, "batch_size": 10, "progress": False, "seed": 0}
    found = fit(vae, digits, objective=Commitment(diversity=1.0), run=tmp_path / "run", **settings)
    assert found.history.perplexity_z.between(1, vae.posterior.num_codes).all()
    after = evaluate(vae, digits.test, num_samples=5, seed=0, progress=False)
    assert after.per_datum.elbo.mean() > before.per_datum.elbo.mean()
    again = evaluate(load(tmp_path / "run").vae, digits.test, num_samples=5, seed=0, progress=False)
    assert again.per_datum.equals(after.per_datum)
    assert loss(copy.deepcopy(vae).double().eval(), [torch.rand(3, 1, 8, 8).double().round()]).isfinite()


def test_codes_that_are_not_used_are_revived():
    torch.manual_seed(0)
    q = ResidualQuantized((3,), 2, num_codes=8, groups=1)
    q.quantizer.layers[0]._codebook.embed.data[:, 1:] = 1e3  # far from all encodings
    x = torch.randn(64, 3)
    for _ in range(30):
        q.distribution(q.net(x))
    assert q.usage.used.sum() == 30 * 64
    assert q.codes.abs().max() < 100
    assert q.reported()["perplexity_z"] > 1.5
    assert q.usage.used.sum() == 0


def prior_of(groups=3, num_codes=3, seed=0):
    """With weights away from their start, and all vectors of codes."""
    torch.manual_seed(seed)
    q = VectorQuantized((2,), 2 * groups, num_codes=num_codes, groups=groups).eval()
    prior = AutoregressiveCodePrior(q, hidden_dim=4)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(2 * torch.randn_like(parameter))
    index = torch.tensor(list(itertools.product(range(num_codes), repeat=groups)))
    return prior, q.codebook.codes[index].flatten(-2), index


def test_an_autoregressive_prior_is_a_mass_and_is_drawn_from():
    prior, vectors, _ = prior_of()
    p = prior.given()
    mass = p.log_prob(vectors).exp().detach().double()
    assert mass.sum().item() == pytest.approx(1, abs=1e-5)
    assert p.log_prob(vectors + 1).eq(-torch.inf).all()
    counts = (p.expand([2000]).sample((2,)).reshape(4000, 1, -1) == vectors).all(-1).sum(0)
    kept = mass * 4000 > 1
    expected = mass[kept] / mass[kept].sum() * counts[kept].sum()
    assert stats.chisquare(counts[kept].numpy(), expected.numpy()).pvalue > P
    q = VectorQuantized((2,), 6, num_codes=3, groups=3).eval()
    code = q.distribution(torch.zeros(4, 1, 6))
    other = AutoregressiveCodePrior(q).given()
    assert_close(kl_divergence(code, other), -other.log_prob(code.mean))


def test_a_group_depends_on_those_before_and_on_no_other():
    prior, _, index = prior_of(groups=4)
    one_hot = torch.nn.functional.one_hot(index, 3).to(prior.logits)
    logits = prior._logits_of(one_hot)
    for g in range(4):
        rows = {}
        for key, value in zip(index[:, :g].tolist(), logits[:, g], strict=True):
            rows.setdefault(tuple(key), []).append(value)
        assert all(torch.allclose(v, values[0], atol=1e-5) for values in rows.values() for v in values)
        assert g == 0 or not torch.allclose(rows[(0,) * g][0], rows[(2,) * g][0], atol=1e-3)


def test_an_autoregressive_prior_learns_what_independent_codes_cannot():
    """Of an autoencoder whose units all have one sign, or all the other, half of the time each."""
    torch.manual_seed(0)
    x = torch.rand(200, 1, 1).round().expand(-1, 1, 4).contiguous()
    both = data.from_arrays(x[:, 0].numpy(), domain=data.Domain("binary"))
    parts = {"prior": CodePrior, "posterior": LookupFree, "encoder": partial(MLP, hidden_dims=())}
    vae = build(both, latent_dim=4, **parts, decoder=SMALL, seed=0)
    with torch.no_grad():
        vae.posterior.net.layers[0].weight.fill_(1.0)
        vae.posterior.net.layers[0].bias.fill_(-2.0)
    settings = {"epochs": 25, "batch_size": 100, "progress": False, "learning_rate": 0.1}
    made = [fit_prior(vae, both, p, **settings) for p in (partial(CodePrior, weighted=True), AutoregressiveCodePrior)]
    kl = [evaluate(v, both.train, num_samples=2, seed=0, progress=False).per_datum["kl_z"].mean() for v in made]
    assert kl[0] > 2.7  # 4 log 2
    assert 0.6 < kl[1] < 0.8  # log 2
    drawn = made[1].prior.given().sample((100,))
    assert (drawn.sum(-1).abs() == 4).float().mean() > 0.95


def test_what_they_cannot_do_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="CodePrior expects a posterior of 2 groups of codes or more, got 1"):
        AutoregressiveCodePrior(VectorQuantized((3,), 2))
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    with pytest.raises(
        ImportError,
        match=r"LookupFree expects vector-quantize-pytorch.*cannot be imported \(.*pip install 'ppl_vae\[quanti",
    ):
        LookupFree((3,), 2)
