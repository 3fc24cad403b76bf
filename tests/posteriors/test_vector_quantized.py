"""Vector-quantized autoencoders: exact masses, the straight-through gradient, the codebook's averages, training."""

import itertools
import math
from functools import partial

import pandas as pd
import pyro
import pytest
import torch
from matrix import loss
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import kl_divergence
from torch.testing import assert_close

from ppl_vae import VAE, Chain, DiagonalNormal, Gaussian, Point, StandardNormal, build, diagnostics, fit, traces
from ppl_vae import data as data_sets
from ppl_vae.codebook import Code, Codebook, CodeMass
from ppl_vae.diagnostics import log_marginal_likelihood
from ppl_vae.evaluation import evaluate
from ppl_vae.nets import MLP
from ppl_vae.objectives import Commitment, check
from ppl_vae.posteriors import VectorQuantized
from ppl_vae.priors import AutoregressiveCodePrior, CodePrior

D, L, K, G, N = 5, 4, 3, 2, 6
exactly = partial(assert_close, rtol=0, atol=1e-10)
small = partial(MLP, hidden_dims=(8,), activation="tanh")


def vq(weighted=False, context=(), **settings):
    posterior = VectorQuantized((D,), L, small, context=context, **{"num_codes": K, "groups": G, **settings})
    vae = VAE(CodePrior(posterior, weighted), Gaussian(L, (D,), small, scale=0.5, context=context), posterior)
    with torch.no_grad():
        vae.prior.logits += weighted * torch.randn_like(vae.prior.logits)
    return vae.double().eval()


def data(n=N):
    return torch.randn(n, D).double()


def every_vector(vae):
    """All K^G vectors of codes."""
    return torch.stack([torch.cat(c) for c in itertools.product(vae.posterior.codebook.codes, repeat=G)])


@pytest.mark.parametrize("weighted", [False, True])
def test_masses_are_exact(weighted):
    vae = vq(weighted)
    p, z = vae.prior.given(), every_vector(vae)
    w = vae.prior.logits.softmax(-1)
    by_hand = torch.stack([w[0, i] * w[1, j] for i, j in itertools.product(range(K), repeat=2)]).log()
    exactly(p.log_prob(z), by_hand)
    exactly(p.mean, (by_hand.exp().unsqueeze(-1) * z).sum(0))
    exactly(p.variance, (by_hand.exp().unsqueeze(-1) * z.square()).sum(0) - p.mean**2)
    assert p.support.is_discrete
    assert p.support.check(z).all()
    for foreign in z + 1e-9, z.roll(1, -1), torch.zeros(L).double():
        assert (p.log_prob(foreign) == -math.inf).all()
        assert not p.support.check(foreign).any()
    x = data()
    q = vae.encode(x)
    assert type(q) is Code
    assert q.support.is_discrete
    exactly(q.log_prob(q.sample()), torch.zeros(N).double())
    assert ((q.log_prob(z[:, None]) == 0).sum(0) == 1).all()
    exactly(kl_divergence(q, p), -p.log_prob(q.mean))
    draws = p.expand([4000]).sample()
    share = (draws[:, None] == z).all(-1).double().mean(0)
    assert ((share - by_hand.exp()).abs() < 4 * (by_hand.exp() / 4000).sqrt()).all()
    assert p.sample((2, 3)).shape == (2, 3, L)
    assert p.expand([5]).log_prob(z[:, None]).shape == (K**G, 5)


def test_codes_that_coincide_add_up():
    codes = torch.tensor([[1.0], [1.0], [2.0]]).double()
    p = CodeMass(torch.zeros(1, 3).double(), codes)
    exactly(p.log_prob(torch.tensor([[1.0], [2.0]]).double()).exp(), torch.tensor([2 / 3, 1 / 3], dtype=torch.float64))


def test_draws_of_codes_that_coincide_have_their_mass():
    posterior = VectorQuantized((3,), 2, num_codes=3, groups=2).eval()
    posterior.codebook.codes = torch.tensor([[0.0], [0.0], [1.0]])
    prior = AutoregressiveCodePrior(posterior)
    with torch.no_grad():
        prior.second.mul_(8.0)
        p = prior.given()
        z = p.expand([100_000]).sample()
        values = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)))
        mass = p.log_prob(values).exp()
    assert_close(mass.sum(), torch.tensor(1.0), rtol=0, atol=1e-5)
    share = (z[:, None] == values).all(-1).float().mean(0)
    assert ((share - mass).abs() < 5 * (mass * (1 - mass) / 100_000).sqrt()).all()


@pytest.mark.parametrize("prior", [partial(CodePrior, weighted=True), AutoregressiveCodePrior])
def test_codes_that_coincide_are_counted_once_where_a_prior_starts(prior):
    posterior = VectorQuantized((3,), 2, num_codes=3, groups=2).eval()
    posterior.codebook.codes = torch.tensor([[0.0], [0.0], [1.0]])
    made = prior(posterior)
    made.start_from(torch.tensor([[0.0, 0.0]] * 300 + [[1.0, 1.0]] * 700))
    assert_close(made.logits.exp().detach(), torch.tensor([[301.0, 1.0, 701.0]] * 2), rtol=1e-5, atol=0)


def test_the_gradient_at_the_code_is_the_encoders():
    vae, x = vq(), data()
    encoding = vae.posterior.net(x).detach().requires_grad_()  # (N, 1, L)
    code = vae.posterior.distribution(encoding).rsample()
    assert vae.prior.given().support.check(code).all()
    held = code.detach().requires_grad_()
    losses = [vae.likelihood.given(z).log_prob(x).sum() for z in (code, held)]
    (through,), (at_code,) = torch.autograd.grad(losses[0], encoding), torch.autograd.grad(losses[1], held)
    assert torch.equal(through[:, 0], at_code)
    assert at_code.any()


def test_the_nearest_codes_are_taken():
    vae, x = vq(), data()
    encoding = vae.posterior.net(x)[:, 0].view(N, G, L // G)
    distance = (encoding.unsqueeze(-2) - vae.posterior.codebook.codes).square().sum(-1)
    exactly(vae.encode(x).mean, vae.posterior.codebook.codes[distance.argmin(-1)].flatten(-2))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_elbo_is_a_bound_that_enumeration_confirms(weighted):
    vae, x = vq(weighted), data()
    z = every_vector(vae)
    joint = vae.likelihood.given(z[:, None]).log_prob(x) + vae.prior.given().log_prob(z)[:, None]
    result = evaluate(vae, x, num_samples=30, seed=0).per_datum
    reconstruction = vae.likelihood.given(vae.encode(x).mean).log_prob(x)
    exactly(torch.tensor(result.reconstruction), reconstruction.detach())
    cost = -vae.prior.given().log_prob(vae.encode(x).mean).detach()
    if not weighted:
        exactly(cost, torch.full((N,), G * math.log(K), dtype=torch.float64))
    exactly(torch.tensor(result.elbo), (reconstruction - cost).detach())
    exactly(torch.tensor(result.kl_z), cost)
    assert (torch.tensor(result.elbo) <= joint.logsumexp(0)).all()
    assert (joint.logsumexp(0) - torch.tensor(result.elbo)).max() > 1e-3
    assert result[["pareto_k", "log_px_mcse", "log_px_bias", "kl_gap"]].isna().all(axis=None)
    assert (result.ess == 1).all()  # one code, however often it is drawn
    exactly(torch.tensor(result.log_px), torch.tensor(result.elbo))
    found = log_marginal_likelihood(vae, x, method="prior", num_samples=2000, seed=0)
    assert (abs(found.log_px - joint.logsumexp(0).detach().numpy()) < 4 * found.log_px_mcse).all()
    assert "nll is minus the ELBO, an upper bound" in repr(evaluate(vae, x, num_samples=30, seed=0))
    assert "(S=" not in repr(evaluate(vae, x, num_samples=30, seed=0))
    for objective in Trace_ELBO(), TraceMeanField_ELBO(), Commitment(0.0):
        exactly(-loss(vae, [x], objective), torch.tensor(result.elbo.sum()))


@pytest.mark.parametrize("num", [1, 3])
def test_commitment_is_its_formula(num):
    vae, x = vq(context=[(2,)]), data()
    c = torch.randn(N, 2).double()
    encoding = vae.posterior.net(x, c)[:, 0]
    expected = 0.3 * (encoding - vae.encode(x, c).mean.detach()).square().sum()
    added = loss(vae, [x, c], Commitment(0.3, num), beta=0.5) - loss(vae, [x, c], Trace_ELBO(), beta=0.5)
    exactly(added, expected)
    parameters = list(vae.posterior.parameters())
    for gradients in zip(
        *(torch.autograd.grad(v, parameters, retain_graph=True) for v in (added, expected)), strict=True
    ):
        exactly(*gradients)


def test_the_codebook_is_a_moving_average():
    book, decay = Codebook(K, 2, 0.9).double(), 0.9
    first = torch.randn(50, 2).double()
    book.learn(first)
    assert (book.codes[:, None] == first).all(-1).any(1).all()  # it starts on encodings, each another one
    assert len(book.codes.unique(dim=0)) == K
    counts, codes = book.counts, book.codes
    exactly(counts, torch.full((K,), 50 / K, dtype=torch.float64))
    held = codes.clone()
    sums = counts[:, None] * codes
    for _ in range(3):
        rows = torch.randn(50, 2).double()
        index = book.nearest(rows)
        used = torch.stack([(index == k).double().sum() for k in range(K)])
        counts = decay * counts + (1 - decay) * used
        sums = decay * sums + (1 - decay) * torch.stack([rows[index == k].sum(0) for k in range(K)])
        book.learn(rows)
        exactly(book.counts, counts)
        exactly(book.codes, sums / counts[:, None])
    assert torch.equal(codes, held)  # nothing was written into a tensor that a graph may hold


def test_dead_codes_are_revived():
    book = Codebook(4, 2, 0.5).double()
    book.learn(torch.randn(50, 2).double())
    book.codes = torch.cat([book.codes[:3], torch.full((1, 2), 1e3).double()])
    for _ in range(6):
        book.learn(torch.randn(50, 2).double())
    assert book.codes.abs().max() < 10
    assert (book.counts > 0).all()
    few = Codebook(8, 2, 0.5).double()
    few.learn(torch.randn(3, 2).double())  # fewer encodings than codes
    assert few.codes.isfinite().all()


def perplexity_of(vae, x):
    """Of what a codebook that stays does with all data, the mean over groups, and of the groups together."""
    book, posterior = vae.posterior.codebook, vae.posterior
    index = book.nearest(vae.eval().encode(x).mean.detach().unflatten(-1, (posterior.groups, -1)))
    used = torch.nn.functional.one_hot(index, posterior.num_codes).double()
    of = [torch.special.entr(p).sum(-1).exp().mean().item() for p in (used.mean(0), used.mean((0, 1)))]
    return tuple(of)


def test_perplexity_is_of_what_was_used_and_the_mean_over_groups():
    book = Codebook(4, 2, 0.9, groups=2)
    assert math.isnan(book.perplexity())
    book.count(torch.tensor([[0, 3], [0, 2], [0, 3]]))
    book.count(torch.tensor([[0, 2]]))
    assert book.used.tolist() == [[4, 0, 0, 0], [0, 0, 2, 2]]
    assert book.perplexity() == pytest.approx((1 + 2) / 2)
    book.count_anew()
    assert math.isnan(book.perplexity())


@pytest.mark.parametrize("groups", [1, 2])
def test_a_constant_encoder_has_perplexity_1(groups):
    """Revival, which resets the averages of unused codes, does not hide it."""
    vae, x = vq(num_codes=64, groups=groups, decay=0.5).train(), data(1).expand(100, D)
    for _ in range(30):
        traces.pair(vae, x)
    assert (vae.posterior.codebook.counts > 0).all()
    assert vae.posterior.reported() == {"perplexity_z": 1.0}
    assert math.isnan(vae.posterior.codebook.perplexity())  # the next epoch counts its own
    history = fit(vae, x[:1], epochs=5, objective=Commitment(), device="cpu").history
    assert history.perplexity_z.tolist() == [1.0] * 5


def codes_of(vae):
    return vae.posterior.codebook.codes


def test_only_training_moves_the_codebook():
    vae, x = vq(), data()
    before = codes_of(vae)
    loss(vae, [x]), vae.encode(x), vae.reconstruct(x, seed=0), vae.train().sample(2, seed=0), evaluate(vae, x)
    vae.posterior_draw(x)
    with torch.no_grad():
        traces.pair(vae, x)
    assert torch.equal(codes_of(vae), before)
    model, guide = traces.pair(vae, x)
    assert not torch.equal(codes_of(vae), before)
    assert model.nodes["z"]["fn"].log_prob(guide.nodes["z"]["value"]).isfinite().all()  # both of the new codes
    once = codes_of(vae)
    with traces.particles(3, 1), pyro.plate("leading", 2, dim=-3):
        _, guide = traces.pair(vae, x)
    assert guide.nodes["z"]["value"].shape == (2, 3, N, L)
    assert not torch.equal(codes_of(vae), once)
    trained = loss(vae, [x], Trace_ELBO(num_particles=2))  # drawn one by one, each of its own codebook
    assert trained.isfinite()
    trained.backward()


def test_the_codebook_is_stored_and_moves():
    vae, other = vq(), vq()
    vae.train()
    traces.pair(vae, data())
    names = set(vae.state_dict()) - {name for name, _ in vae.named_parameters()}
    assert names == {f"posterior.codebook.{name}" for name in ("codes", "counts", "used")}
    other.load_state_dict(vae.state_dict())
    x = data()
    vae.eval()
    exactly(loss(vae, [x]), loss(other, [x]))
    assert vae.float().encode(x.float()).mean.dtype == torch.float32


def levels():
    """q(z2 | x) q(z1 | z2) with codes above and a density below."""
    above = VectorQuantized((D,), L, small, num_codes=K, groups=G, site="z2")
    below = DiagonalNormal((L,), 2, small, context=[(D,)], site="z1")
    prior = Chain(CodePrior(above, site="z2"), DiagonalNormal((L,), 2, small, site="z1"))
    return VAE(prior, Gaussian(2, (D,), small), Chain(above, below)).double()


def test_it_is_a_level_of_a_hierarchy():
    vae, x = levels(), data()
    pair = traces.pair(vae, x)
    traces.check_pair(*pair, N)
    check(Commitment(), *pair)
    result = fit(vae, x, epochs=2, objective=Commitment())
    assert result.history.train_kl_z2.tolist() == pytest.approx([G * math.log(K)] * 2)
    assert {"perplexity_z2", "train_kl_z1"} <= set(result.history)


def test_refusals():
    with pytest.raises(ValueError, match=r"groups that divide latent_dim, got groups=3 and latent_dim=4; give"):
        VectorQuantized((D,), 4, groups=3)
    for wrong in {"num_codes": 0}, {"decay": 1.0}:
        with pytest.raises(
            ValueError,
            match=r"expects (num_codes .* from 2 on|decay .* from 0 and below 1)",
        ):
            vq(**wrong)
    with pytest.raises(
        ValueError, match=r"CodePrior expects a VectorQuantized posterior, got Point, which has no codes"
    ):
        CodePrior(Point((D,), L))
    x = data()
    vae = VAE(StandardNormal(L), Gaussian(L, (D,)), VectorQuantized((D,), L)).double()
    for use in (partial(fit, epochs=1), partial(evaluate, num_samples=2)):
        with pytest.raises(ValueError, match=r"got a mass and a density at 'z'.*give VectorQuantized a CodePrior"):
            use(vae, x)
    points = VAE(StandardNormal(L), Gaussian(L, (D,)), Point((D,), L)).double()
    with pytest.raises(ValueError, match=r"Commitment expects a VectorQuantized posterior, got \[Delta"):
        fit(points, x, epochs=1, objective=Commitment())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("check_guide", "a posterior with a spread, got one code a datum"),
        ("diagnose", "a posterior with a spread, got one code a datum"),
        ("elpd", "whose draws are all the same; use method='prior'"),
        ("log_weights", r"one code a datum \(VectorQuantized\).*no weights"),
        ("to_arviz", "one code a datum"),
        ("inference_gaps", r"a code \(VectorQuantized\) at 'z', which cannot be spread"),
        ("hmc", "latents with densities, got the discrete 'z'"),
        ("active_units", "got the discrete Code"),
    ],
)
def test_diagnostics_of_a_spread_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        getattr(diagnostics, name)(vq(), data(), seed=0)


def digits():
    return data_sets.load("digits").binarize("threshold").take(train=600, validation=200)


def made():
    return build(
        digits(),
        latent_dim=8,
        prior=CodePrior,
        posterior=partial(VectorQuantized, num_codes=16, groups=4, decay=0.9),
        encoder=partial(MLP, hidden_dims=(64,)),
        decoder=partial(MLP, hidden_dims=(64,)),
        seed=0,
    )


def test_it_learns_digits_with_most_of_its_codes():
    vae = made()
    assert repr(vae).startswith(
        "p(x, z) = CodePrior(z; 4 x 16) Bernoulli(x | z)\nq(z | x) = VectorQuantized(16, groups=4)\n"
    )
    result = fit(vae, digits(), epochs=30, batch_size=100, objective=Commitment(), seed=0)
    history = result.history
    of_groups, together = perplexity_of(vae, digits().train.fixed(0).x)
    assert together > 10  # of 16; a group needs fewer
    assert history.perplexity_z[result.best_epoch] == pytest.approx(of_groups, rel=0.1)
    said = f"nats per datum in units of x, perplexity of z {history.perplexity_z[result.best_epoch]:.1f})"
    assert said in repr(result)
    assert history.validation_elbo.max() > history.validation_elbo.iloc[0] + 3
    assert history.validation_kl_z.to_numpy() == pytest.approx(4 * math.log(16))
    samples = vae.sample(200, seed=0, mean=True)
    assert samples.std(0).max() > 0.1


@pytest.mark.filterwarnings("ignore:resume goes on with other callbacks")
def test_training_goes_on_bit_for_bit(tmp_path):
    whole, parted = made(), made()
    arguments = {"objective": Commitment(), "batch_size": 100, "seed": 0}
    expected = fit(whole, digits(), epochs=3, **arguments)

    def stop(state):
        return state.epoch == 1

    fit(parted, digits(), epochs=3, run=tmp_path, callbacks=[stop], **arguments)
    again = made()
    got = fit(again, digits(), epochs=3, run=tmp_path, resume=True, **arguments)
    pd.testing.assert_frame_equal(expected.history.drop(columns="seconds"), got.history.drop(columns="seconds"))
    assert got.history.perplexity_z.notna().all()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_weights_of_codes_are_learned_by_plain_maximum_likelihood():
    vae, x = vq(weighted=True), data(60)
    vae.prior.logits.data.zero_()
    optimizer = torch.optim.Adam(vae.prior.parameters(), lr=0.1)
    z = vae.encode(x).mean.detach()
    for _ in range(400):
        optimizer.zero_grad()
        (-vae.prior.given().log_prob(z).mean()).backward()
        optimizer.step()
    index = vae.posterior.codebook.nearest(z.view(-1, G, L // G))
    share = torch.stack([(index == k).double().mean(0) for k in range(K)], -1)  # (G, K)
    assert_close(vae.prior.given().log_weights.exp(), share, rtol=0, atol=1e-2)


def test_the_nearest_of_equals_is_the_first():
    book = Codebook(4, 2, 0.9)
    book.codes = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert book.nearest(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.1, 2.0]])).tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_encodings_that_differ_by_rounding_are_one_code(dtype):
    book = Codebook(16, 3, 0.5, groups=2).to(dtype)
    apart = torch.tensor([[1.0, -2.0, 0.3], [5.0, 0.1, 0.2]], dtype=dtype)
    for _ in range(40):
        encodings = apart * (1 + 3 * torch.finfo(dtype).eps * torch.randn(50, 2, 3, dtype=dtype))
        book.learn(encodings.flatten(0, 1))
        book.count(book.nearest(encodings))
    assert book.perplexity() == 1
    assert (book.codes[book.nearest(apart)] - apart).abs().max() < 100 * torch.finfo(dtype).eps


def test_codes_that_are_given_up_are_not_put_where_others_lie():
    book, rows = Codebook(8, 2, 0.5), torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    for _ in range(20):
        book.learn(rows)
        assert sorted(book.nearest(rows).unique().tolist()) == sorted(set(book.nearest(rows).tolist()))
        assert all((book.codes == row).all(-1).sum() == 1 for row in rows)
    more = torch.cat([rows, rows + 10])
    for _ in range(20):
        book.learn(more)
    assert len(book.nearest(more).unique()) == 6
