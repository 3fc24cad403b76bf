"""Likelihoods of counts: parametrizations, exposures, totals and what may be ranked."""

import math
from copy import deepcopy
from functools import partial

import mpmath
import numpy as np
import numpyro.distributions as np_dist
import pytest
import torch
from small_models import SMALL
from torch.testing import assert_close

from ppl_vae import (
    Domain,
    Evaluation,
    Multinomial,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    build,
    compare,
    data,
    distributions,
    evaluate,
    fit,
    to_arviz,
)
from ppl_vae.diagnostics import elpd
from ppl_vae.distributions import ZeroInflated
from ppl_vae.evaluation import per_column
from ppl_vae.likelihoods import Likelihood

GENES = 6


def counted(seed=0):
    """Rows of counts with totals from about 5 to 200."""
    g = torch.Generator().manual_seed(seed)
    size = torch.empty(80, 1).uniform_(1, 40, generator=g)
    x = torch.poisson(size * torch.rand(80, GENES, generator=g), generator=g)
    return data.from_arrays(x.numpy(), domain=Domain("counts"))


def built(likelihood, source=None, **parts):
    return build(
        source or counted(), latent_dim=2, likelihood=likelihood, encoder=SMALL, decoder=SMALL, seed=0, **parts
    )


def scvi_log_nb(x, mu, theta, eps=1e-8):
    """`log_nb_positive` of scvi-tools 1.3 (scvi/distributions/_negative_binomial.py)."""
    log_theta_mu_eps = torch.log(theta + mu + eps)
    return (
        theta * (torch.log(theta + eps) - log_theta_mu_eps)
        + x * (torch.log(mu + eps) - log_theta_mu_eps)
        + torch.lgamma(x + theta)
        - torch.lgamma(theta)
        - torch.lgamma(x + 1)
    )


def scvi_log_zinb(x, mu, theta, pi, eps=1e-8):
    """`log_zinb_positive` of scvi-tools 1.3: pi are the logits of the further zeros."""
    softplus = torch.nn.functional.softplus
    softplus_pi, log_theta_eps, log_theta_mu_eps = softplus(-pi), torch.log(theta + eps), torch.log(theta + mu + eps)
    pi_theta_log = -pi + theta * (log_theta_eps - log_theta_mu_eps)
    zero = softplus(pi_theta_log) - softplus_pi
    positive = (
        -softplus_pi
        + pi_theta_log
        + x * (torch.log(mu + eps) - log_theta_mu_eps)
        + torch.lgamma(x + theta)
        - torch.lgamma(theta)
        - torch.lgamma(x + 1)
    )
    return torch.where(x < eps, zero, positive)


def test_parametrizations_are_those_of_scvi_tools_and_numpyro():
    torch.manual_seed(0)
    mu, theta = torch.rand(50).double() * 20 + 0.1, torch.rand(50).double() * 5 + 0.1
    pi, x = torch.randn(50).double(), torch.poisson(torch.rand(50).double() * 10)
    ours = distributions.NegativeBinomial(mu, theta)
    inflated = ZeroInflated(ours, pi)
    assert_close(ours.log_prob(x), scvi_log_nb(x, mu, theta), rtol=1e-6, atol=1e-6)
    assert_close(inflated.log_prob(x), scvi_log_zinb(x, mu, theta, pi), rtol=1e-6, atol=1e-6)
    mu, theta, gate, x = (v.numpy().astype(np.float32) for v in (mu, theta, pi.sigmoid(), x))
    numpyros = np_dist.NegativeBinomial2(mu, theta), np_dist.ZeroInflatedNegativeBinomial2(mu, theta, gate=gate)
    for p, theirs in zip((ours, inflated), numpyros, strict=True):
        assert np.allclose(p.log_prob(torch.tensor(x).double()), theirs.log_prob(x), rtol=1e-4, atol=1e-4)
        assert np.allclose(p.mean, theirs.mean, rtol=1e-5)
        assert np.allclose(p.variance, theirs.variance, rtol=1e-4)


@pytest.mark.parametrize("leaf", [NegativeBinomial, ZeroInflatedNegativeBinomial])
def test_dispersion_is_of_all_of_each_or_of_z(leaf):
    shapes = {"decoder": None, "learned": (), "elementwise": (GENES,)}
    for dispersion, shape in shapes.items():
        made = leaf(2, (GENES,), SMALL, dispersion=dispersion)
        owned = dict(made.named_parameters()).get("raw_concentration")
        assert (owned is None) if shape is None else owned.shape == shape
        p = made.given(torch.randn(4, 2)).base_dist.base_dist
        r = getattr(p, "base", p).concentration
        assert (r.std(0) > 0).all() == (dispersion == "decoder")


COUNTS = [Poisson, NegativeBinomial, ZeroInflatedNegativeBinomial]


@pytest.mark.parametrize("leaf", COUNTS)
def test_a_total_is_shared_out_among_what_was_observed(leaf):
    vae = built(partial(leaf, exposure="total"))
    x, mask = counted().test.x, torch.rand(len(counted().test), GENES, generator=torch.Generator().manual_seed(1)) < 0.7
    z = torch.randn(len(x), 2)
    p = vae.likelihood.given(z, x=x, mask=mask).base_dist.base_dist
    mean = getattr(p, "base", p).mean
    assert_close((mean * mask).sum(1), (x * mask).sum(1) * mask.any(1), rtol=1e-4, atol=1e-4)
    logits = vae.likelihood.net(z)[..., {Poisson: 0, NegativeBinomial: 0}.get(leaf, 1), :]
    whole = vae.likelihood.given(z, x=x).base_dist.base_dist
    expected = (x.sum(1, keepdim=True) * logits.softmax(-1)).clamp_min(1e-8)
    assert_close(getattr(whole, "base", whole).mean, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("leaf", [*(partial(c, exposure="total") for c in COUNTS), Multinomial])
def test_what_is_drawn_without_data_has_the_median_total_of_the_training_data(leaf):
    source = counted()
    vae = built(leaf, source)
    median = source.train.x.sum(1).median()
    assert vae.likelihood.typical_total == median
    z = torch.zeros(3, 2)
    share = vae.decode(z).mean / vae.decode(z).mean.sum(1, keepdim=True)
    if leaf is Multinomial:
        assert_close(vae.decode(z).mean.sum(1), median.expand(3))
        assert (vae.sample(5, seed=0).sum(1) == median).all()
    vae.likelihood.typical_total.fill_(10.0)
    assert_close(vae.decode(z).mean, share * vae.decode(z).mean.sum(1, keepdim=True))
    assert vae.decode(z).mean.sum() < 31
    means = vae.reconstruct(source.test, seed=0).sum(1)  # those of data have their own
    assert torch.corrcoef(torch.stack([means, source.test.x.sum(1)]))[0, 1] > 0.8
    again = built(leaf, source)
    again.load_state_dict(vae.state_dict())
    assert again.likelihood.typical_total == 10


@pytest.mark.parametrize("leaf", [partial(Poisson, exposure="total"), Multinomial])
def test_rows_of_given_totals_are_drawn(leaf):
    vae = built(leaf)
    totals = torch.tensor([0.0, 7.0, 400.0])
    mean = vae.sample(3, seed=0, mean=True, total=totals)
    assert_close(mean.sum(1), totals, rtol=1e-4, atol=1e-4)
    assert_close(vae.sample(3, seed=0, mean=True, total=7)[1:], mean[1:] * (7 / totals[1:, None]))
    if leaf is Multinomial:
        assert vae.sample(3, seed=0, total=totals).sum(1).tolist() == totals.tolist()
        with pytest.raises(ValueError, match="whole numbers as totals, to which the counts of Multinomial add up"):
            vae.sample(3, total=2.5)
        says = r"all whole numbers up to 16,777,216, got 20000001, which would become 20000000; .*vae.double\(\)"
        with pytest.raises(ValueError, match=says):
            vae.sample(3, total=20_000_001)
        assert vae.sample(2, total=20_000_002, seed=0).sum(1).tolist() == [20_000_002] * 2
        assert deepcopy(vae).double().sample(1, total=20_000_001, seed=0).sum().item() == 20_000_001
    for total in (-1, torch.tensor([1.0, 2.0]), torch.nan):
        with pytest.raises(ValueError, match="sample expects a total of 0 or more, or one for each of 3 draws, got"):
            vae.sample(3, total=total)
    with pytest.raises(ValueError, match=r"expects total= with a likelihood given the total of a row, got Poisson"):
        built(Poisson).sample(3, total=5)


def test_a_row_of_nothing_and_one_of_which_nothing_was_seen_are_certain():
    for leaf in (*(partial(c, exposure="total") for c in COUNTS), Multinomial):
        vae = built(leaf)
        z = torch.randn(2, 2)
        assert_close(vae.likelihood.given(z, x=torch.zeros(2, GENES)).log_prob(torch.zeros(2, GENES)), torch.zeros(2))
        mask = torch.zeros(2, GENES, dtype=torch.bool)
        p = vae.likelihood.given(z, x=torch.zeros(2, GENES), mask=mask)
        assert_close(p.log_prob(torch.zeros(2, GENES)), torch.zeros(2))


def scored(likelihood, source):
    vae = built(likelihood, source)
    fit(vae, source, epochs=1, seed=0, progress=False)
    return vae, evaluate(vae, source.test, num_samples=30, seed=0, progress=False)


def test_what_is_given_the_total_is_ranked_only_with_its_like(tmp_path):
    source = counted()
    vae, bag = scored(Multinomial, source)
    _, cells = scored(partial(NegativeBinomial, exposure="total"), source)
    _, poisson = scored(partial(Poisson, exposure="total"), source)
    _, plain = scored(NegativeBinomial, source)
    assert bag.base_measure == "mass given the total"
    assert cells.base_measure == poisson.base_measure == "mass given the total as an exposure"
    assert plain.base_measure == "mass"
    assert "mass given the total" in repr(bag)
    bag.save(tmp_path / "a.json")
    assert Evaluation.load(tmp_path / "a.json").base_measure == bag.base_measure
    assert len(compare({"a": cells, "b": poisson})) == 2
    for other, why in (
        (plain, "a mass for 'b': what is given the total leaves out what the total costs"),
        (cells, "a mass given the total as an exposure for 'b': a mass given the total adds up to 1 over the rows of"),
    ):
        with pytest.raises(ValueError, match=f"got a mass given the total for 'a' and {why}"):
            compare({"a": bag, "b": other})
    tree = to_arviz(vae, source.test[:5], num_samples=30, seed=0, progress=False)
    assert tree["posterior"].attrs["base_measure"] == bag.base_measure
    assert elpd(vae, source.test[:5], num_samples=30, seed=0, progress=False).base_measure == bag.base_measure


def test_only_the_multinomial_adds_up_to_one_over_the_rows_of_a_total():
    """All x of 3 elements and total 6, by enumeration."""
    rows = torch.tensor([(i, j, 6 - i - j) for i in range(7) for j in range(7 - i)]).double()
    source = data.from_arrays(np.random.default_rng(0).poisson(2, (40, 3)), domain=Domain("counts"))
    sums = {}
    for leaf in (Multinomial, partial(Poisson, exposure="total"), partial(NegativeBinomial, exposure="total")):
        likelihood = built(leaf, source).double().likelihood
        z = torch.tensor([0.3, -1.0]).double().expand(len(rows), 2)
        sums[likelihood.given_total, type(likelihood)] = likelihood.given(z, x=rows).log_prob(rows).exp().sum().item()
    assert sums[True, Multinomial] == pytest.approx(1, abs=1e-9)
    poisson = math.exp(6 * math.log(6) - 6 - math.lgamma(7))  # the total is Poisson(6)
    assert sums["exposure", Poisson] == pytest.approx(poisson, abs=1e-6)
    assert sums["exposure", NegativeBinomial] < poisson


def test_missing_counts_are_left_out_and_train():
    source = counted().hide(0.3, seed=0)
    for leaf in (Multinomial, partial(Poisson, exposure="total")):
        _, result = scored(leaf, source)
        assert result.per_datum[["elbo", "log_px"]].notna().all(axis=None)


def test_a_known_frequency_is_learned_from_rows_of_any_total():
    """With a constant decoder the multinomial's optimum is the pooled frequency."""
    source = counted()
    x = source.train.x
    share = x.sum(0) / x.sum()
    best = Multinomial(2, (GENES,), lambda i, o: Constant(share.log()[None]))
    other = Multinomial(2, (GENES,), lambda i, o: Constant(torch.zeros(1, GENES)))
    z = torch.zeros(len(x), 2)
    gain = best.given(z, x=x).log_prob(x).sum() - other.given(z, x=x).log_prob(x).sum()
    assert_close(gain, (x * (share * GENES).log()).sum(), rtol=1e-4, atol=1e-3)


class Constant(torch.nn.Module):
    """A decoder of the same parameters for every z."""

    def __init__(self, params):
        super().__init__()
        self.params = params

    def forward(self, z, *context):
        return self.params.expand(*z.shape[:-1], *self.params.shape)


def test_counts_are_the_domain_and_the_error_names_the_fix():
    x = torch.rand(40, 3).numpy()
    for leaf in (Poisson, Multinomial):
        with pytest.raises(ValueError, match=r"expects data of kind 'counts', got 'unit'; convert them"):
            built(leaf, data.from_arrays(x, domain=Domain("unit")))
        vae = built(leaf)
        with pytest.raises(ValueError, match=r"counts x in \{0, 1, 2, ...\}, got values in .*raw counts, or use"):
            evaluate(vae, torch.rand(4, GENES), num_samples=2, progress=False)


def test_likelihoods_without_an_exposure_never_see_x():
    assert not any(leaf(2, (GENES,), SMALL).sees_x for leaf in COUNTS)
    assert not Likelihood.sees_x


def test_columns_of_rows_given_their_total_have_no_score_of_their_own():
    source = counted()
    with pytest.raises(ValueError, match="given nothing of x, got a mass given the total, which changes with the"):
        per_column(built(Multinomial, source), source.test, num_samples=30, progress=False)


def test_an_exposure_that_was_standardized_is_refused():
    x, hours = np.random.default_rng(0).poisson(3, (40, 2)), np.linspace(1, 9, 40)
    exposed = partial(Poisson, exposure=True)
    with pytest.raises(ValueError, match=r"a context above 0, got values from -1\.\d* \(standardized numbers"):
        built(exposed, data.from_arrays(x, context=hours))
    built(exposed, data.from_arrays(x, context=hours, standardize_context=False))


@pytest.mark.parametrize("leaf", [Multinomial, partial(Poisson, exposure="total")])
def test_rows_with_missing_elements_are_encoded_and_reconstructed(leaf):
    source = counted().hide(0.3)
    vae = built(leaf, source)
    assert vae.encode(source.test).mean.shape == (len(source.test), 2)
    assert vae.reconstruct(source.test, seed=0).isfinite().all()
    lacking = source.test.x.masked_fill(source.test.observed, -1)  # what is observed is checked all the same
    with pytest.raises(ValueError, match="counts x in"):
        vae.encode(lacking, mask=source.test.observed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("r", [1e-3, 1.0, 1e6, 1.1e6, 1e9, 1e15, 1e30])
def test_negative_binomial_up_to_its_limit(r, dtype):
    """Against gamma functions of 60 digits; a difference of two in float64 is noise from about 1e14 on."""
    with mpmath.workdps(60):
        for m in (1e-3, 3.0, 1e6):
            x = torch.tensor([0.0, 1.0, 10.0, 1e6], dtype=dtype)
            p = distributions.NegativeBinomial(torch.tensor(m, dtype=dtype), torch.tensor(r, dtype=dtype))
            mean, size = (mpmath.mpf(v.item()) for v in (p.rate, p.concentration))
            exact = [
                mpmath.loggamma(size + k)
                - mpmath.loggamma(size)
                - mpmath.loggamma(1 + k)
                - (size + k) * mpmath.log1p(mean / size)
                + k * mpmath.log(mean / size)
                for k in map(int, x.tolist())
            ]
            tolerance = 1e-9 if dtype == torch.float64 else 2e-7
            assert p.log_prob(x).tolist() == pytest.approx([float(v) for v in exact], rel=tolerance, abs=tolerance)
