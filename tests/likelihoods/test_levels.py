"""Likelihoods of ordered and unordered levels."""

import json
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
from ppl_vae.support import unwrapped
from ppl_vae.vae.build import rebuild


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
    assert not vae.likelihood.ordered
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
    ordered = Categorical(2, (3,), SMALL, levels=levels)
    assert_close(ordered.standardize(torch.tensor([[1.0, 4.0, 1.0]])), torch.tensor([[1.0, 1.0, 0.5]]))
    with pytest.raises(ValueError, match=r"one for each of the 3 columns, got 2; give as many"):
        Categorical(2, (3,), SMALL, levels=(2, 5))


@pytest.mark.parametrize("x_shape", [(4,), (2, 3, 5)])
def test_an_encoder_sees_unordered_categories_one_hot(x_shape):
    leaf = Categorical(2, x_shape, SMALL, levels=3, ordered=False)
    x = torch.randint(3, (7, *x_shape), generator=torch.Generator().manual_seed(0)).float()
    seen = leaf.standardize(x)
    assert seen.shape == (7, *leaf.seen_shape)
    each = seen.unflatten(1, (x_shape[0], 3)).movedim(2, -1)  # the levels of an element last
    assert_close(each, torch.nn.functional.one_hot(x.long(), 3).float())
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    of_each = leaf.seen_mask(mask).unflatten(1, (x_shape[0], 3)).movedim(2, -1)
    assert torch.equal(of_each, mask[..., None].expand_as(each))
    ordered = Categorical(2, x_shape, SMALL, levels=3)
    assert ordered.seen_shape == x_shape
    assert_close(ordered.standardize(x), x / 2)


def test_of_unordered_categories_the_most_probable_one_is_typical():
    source = answers(6, "categories").hide(0.2, seed=0)
    vae = built(Categorical, source)
    fit(vae, source, epochs=1, seed=0, progress=False)
    z = torch.randn(9, 2)
    p = vae.decode(z)
    assert torch.equal(vae.likelihood.typical(vae.decode(z)), unwrapped(p).logits.argmax(-1).float())
    for made in (vae.reconstruct(source.test, seed=0), vae.sample(20, seed=0, mean=True)):
        assert torch.equal(made, made.round())
    levels = built(Categorical, answers(6, "levels"))
    assert_close(levels.likelihood.typical(levels.decode(z)), levels.decode(z).mean)
    assert (levels.reconstruct(answers(6, "levels").test, seed=0) % 1).any()


def test_a_recipe_says_whether_levels_have_an_order_and_one_from_before_it_did_has_them_by_number():
    new = built(Categorical, answers(3, "categories")).recipe
    assert new["likelihood"]["args"] == {"ordered": False}
    old = json.loads(json.dumps(new))
    old["likelihood"]["args"] = {}
    for stored, ordered in ((new, False), (old, True)):
        again = rebuild(stored)
        assert again.likelihood.ordered == ordered
        assert rebuild(again.recipe).likelihood.ordered == ordered
    plain = built(Categorical, answers(3, "levels")).recipe
    assert plain["likelihood"]["args"] == {}
