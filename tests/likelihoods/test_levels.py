"""Likelihoods of ordered and unordered levels."""

from functools import partial

import pytest
import torch
from small_models import SMALL
from torch.testing import assert_close

from ppl_vae import (
    Categorical,
    DataSpec,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Domain,
    OrderedLogistic,
    build,
    data,
    evaluate,
    fit,
)


def answers(levels=4, kind="levels", seed=0):
    g = torch.Generator().manual_seed(seed)
    return data.from_arrays(
        torch.randint(levels, (90, 5), generator=g).float().numpy(), domain=Domain(kind, levels=levels)
    )


def built(likelihood, source):
    return build(source, latent_dim=2, likelihood=likelihood, encoder=SMALL, decoder=SMALL, seed=0)


@pytest.mark.parametrize("levels", [2, 3, 7])
def test_an_ordered_logistic_is_that_of_its_cutpoints(levels):
    leaf = OrderedLogistic(2, (5,), SMALL, levels=levels).double()
    loc = torch.randn(6, 5).double()
    p = leaf.elementwise(loc)
    assert_close(leaf.elementwise(torch.zeros(5).double()).probs, torch.full((5, levels), 1 / levels).double())
    gaps = torch.nn.functional.softplus(leaf.raw_gaps + 0.5413248546) + 1e-4
    cutpoints = torch.cat([leaf.first[:, None], leaf.first[:, None] + gaps.cumsum(-1)], -1)
    assert_close(p.probs.cumsum(-1)[..., :-1], torch.sigmoid(cutpoints - loc[..., None]))
    assert (p.probs.diff() != 0).any()


def test_a_larger_location_means_higher_levels():
    leaf = OrderedLogistic(2, (1,), SMALL, levels=5)
    means = leaf.elementwise(torch.linspace(-5, 5, 20)[:, None]).mean
    assert (means.diff(dim=0) > 0).all()


@pytest.mark.parametrize("leaf", [OrderedLogistic, DiscretizedLogisticMixture, Categorical])
def test_levels_train_sample_and_refuse(leaf):
    source = answers()
    vae = built(leaf, source)
    assert vae.likelihood.levels == 4
    fit(vae, source, epochs=1, seed=0, progress=False)
    assert set(vae.sample(30, seed=0).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert evaluate(vae, source.test, num_samples=30, seed=0, progress=False).base_measure == "mass"
    with pytest.raises(ValueError, match=r"expects whole (grey )?levels, got values in \[4, 4\].*their number"):
        vae.encode(torch.full((1, 5), 4.0))


def test_one_logistic_is_a_mixture_of_one():
    mixture = DiscretizedLogisticMixture(2, (5,), SMALL, levels=9, num_components=1).double()
    single = DiscretizedLogistic(2, (5,), SMALL, levels=9).double()
    loc, scale, x = torch.randn(3, 5).double(), torch.randn(3, 5).double(), torch.randint(9, (3, 5)).double()
    p = mixture.elementwise(torch.randn(3, 5).double(), loc, scale)
    assert_close(p.log_prob(x), single.elementwise(loc, scale).log_prob(x))


def test_a_mixture_has_several_likely_levels():
    """Two levels far apart, which one logistic has to cover with everything in between."""
    g = torch.Generator().manual_seed(0)
    x = torch.where(torch.rand(300, 4, generator=g) < 0.5, 2.0, 30.0)
    source = data.from_arrays(x.numpy(), domain=Domain("levels", levels=33))
    found = {}
    for leaf in (partial(DiscretizedLogisticMixture, num_components=2), DiscretizedLogistic):
        vae = built(leaf, source)
        fit(vae, source, epochs=12, batch_size=32, optimizer=partial(torch.optim.Adam, lr=0.03), seed=0, progress=False)
        found[vae.likelihood.formula()] = evaluate(
            vae, source.test, num_samples=30, seed=0, progress=False
        ).summary.loc["elbo", "mean"]
    mixture, single = found.values()
    assert mixture > single + 1


def test_categories_are_a_domain():
    source = answers(6, "categories")
    vae = built(Categorical, source)
    assert vae.likelihood.levels == 6
    assert_close(vae.likelihood.standardize(torch.tensor([0.0, 5.0])), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"OrderedLogistic expects data.*'levels', got 'categories'.*choose Het"):
        built(OrderedLogistic, DataSpec((5,), Domain("categories", levels=6)))


def test_columns_have_their_own_numbers_of_levels():
    levels = (2, 5, 3)
    x = torch.stack([torch.arange(60).remainder(n) for n in levels], -1).float()
    source = data.from_arrays(x.numpy(), domain=Domain(("binary", "categories", "levels"), levels=(None, *levels[1:])))
    vae = built(Categorical, source)
    p = vae.likelihood.given(torch.randn(4, 2)).base_dist.base_dist
    for j, n in enumerate(levels):
        assert_close(p.probs[:, j, :n].sum(-1), torch.ones(4))
        assert not p.probs[:, j, n:].any()
    fit(vae, source, epochs=1, seed=0, progress=False)
    assert evaluate(vae, source.test, num_samples=30, seed=0, progress=False).per_datum.log_px.notna().all()
    assert (vae.sample(50, seed=0) < torch.tensor(levels)).all()
    assert_close(vae.likelihood.standardize(torch.tensor([[1.0, 4.0, 1.0]])), torch.tensor([[1.0, 1.0, 0.5]]))
    with pytest.raises(ValueError, match=r"one for each of the 3 columns, got 2; give as many"):
        Categorical(2, (3,), SMALL, levels=(2, 5))
