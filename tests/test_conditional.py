"""What a leaf declares: the shape of its parameters, and whether it sees the context."""

from functools import partial

import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from small_models import SMALL
from torch.testing import assert_close

from ppl_vae import (
    IAF,
    DataSpec,
    DiagonalNormal,
    Domain,
    Gaussian,
    Likelihood,
    NegativeBinomial,
    Posterior,
    StandardNormal,
    build,
    evaluate,
    fit,
    traces,
)
from ppl_vae.data import Split
from ppl_vae.diagnostics import inference_gaps
from ppl_vae.distributions import positive

N, X = 8, (5,)
SIZES = torch.linspace(0.5, 2.0, N).reshape(N, 1).double()
COUNTED = DataSpec(X, Domain("counts"), ((1,),))


def counted(n=N, seed=0):
    """Counts whose means grow with the exposure."""
    g = torch.Generator().manual_seed(seed)
    return torch.poisson(10 * SIZES[:n].expand(-1, *X), generator=g)


def cells(**parts):
    likelihood = partial(NegativeBinomial, exposure=True)
    nets = {"encoder": SMALL, "decoder": SMALL}
    return build(COUNTED, latent_dim=2, likelihood=likelihood, seed=0, **nets, **parts).double()


def test_a_likelihood_sees_the_exposure():
    vae = cells()
    z, shape = torch.randn(3, N, 2).double(), (3, N, *X)
    raw_mean, raw_r = vae.likelihood.net(z, SIZES).unbind(-2)
    p = vae.likelihood.given(z, SIZES)
    mean, r = positive(raw_mean) * SIZES, positive(raw_r)
    assert_close(p.mean, mean)
    exact = scipy.stats.nbinom.logpmf(counted().expand(shape), *(v.detach() for v in (r, r / (r + mean))))
    assert_close(p.base_dist.log_prob(counted()), torch.tensor(exact), rtol=1e-9, atol=1e-9)
    assert fit(vae, Split.of(counted(), SIZES), epochs=2, device="cpu").history.train_elbo.notna().all()
    again = evaluate(vae, counted(), SIZES, num_samples=30, seed=0, progress=False)
    assert again.per_datum.notna().all(axis=None)
    assert vae.sample(N, SIZES, seed=0).shape == (N, *X)


@pytest.mark.parametrize("shapes", [(), ((3,),), (X, (1,))])
def test_an_exposure_is_a_number(shapes):
    with pytest.raises(ValueError, match=r"exposure to be the first context, of shape \(1,\), got contexts.*give the"):
        NegativeBinomial(2, X, exposure=True, context=shapes)


class Scaled(Posterior):
    """q(z | x, s) = N(m, s^2 I): its scale is the context."""

    sees_context = True

    def distribution(self, params, x, s):
        return dist.Normal(params[..., 0, :], s.expand(*s.shape[:-1], params.shape[-1])).to_event(1)


def test_a_posterior_sees_what_it_is_given_and_is_refined():
    vae = cells(posterior=Scaled)
    q = vae.encode(counted(), SIZES)
    assert_close(q.stddev, SIZES.expand(-1, 2))
    _, guide = traces.pair(vae, counted(), SIZES)
    params, distribution = guide.nodes["z"]["infer"]["parametrization"]
    assert_close(distribution(params).stddev, SIZES.expand(-1, 2))
    assert_close(distribution(params + 1).mean, q.mean + 1)
    gaps = inference_gaps(vae, counted(), SIZES, num_steps=30, num_samples=60, seed=0, progress=False)
    assert gaps.to_dataframe().notna().all(axis=None)


# until 0.2


def test_leaves_written_for_0_1_work():
    with pytest.warns(
        DeprecationWarning, match=r"Old.rows is deprecated; write param_shape\(self, latent_dim\)"
    ) as said:

        class Old(Posterior):
            @staticmethod
            def rows(latent_dim):
                return 2

            def distribution(self, params):
                loc, raw = params.unbind(-2)
                return dist.Normal(loc, positive(raw)).to_event(1)

    assert said[0].filename == __file__

    class OldToo(Old):
        pass

    class Wide(Likelihood):
        kinds, base_measure = ("real",), "density"

        def __init__(self, latent_dim, x_shape, net=SMALL):
            super().__init__(latent_dim, x_shape, net, num_params=2)

        def elementwise(self, *params):
            return dist.Normal(params[0], positive(params[1]))

    torch.manual_seed(0)
    old = OldToo(X, 2, SMALL)
    torch.manual_seed(0)
    new = DiagonalNormal(X, 2, SMALL)
    x = torch.randn(N, *X)
    assert old.given(x).mean.equal(new.given(x).mean)
    with pytest.warns(DeprecationWarning, match=r"num_params=2 is deprecated; write Wide.param_shape") as warned:
        assert Wide(2, X).given(torch.zeros(N, 2)).mean.shape == (N, *X)
    assert warned[0].filename == __file__


def test_bases_take_by_position_what_0_1_did():
    class Own(Posterior):
        def __init__(self, x_shape, latent_dim, net=SMALL, k=1, context=(), site="z"):
            super().__init__(x_shape, latent_dim, net, context, site)

        def distribution(self, params):
            return dist.Delta(params[..., 0, :], event_dim=1)

    with pytest.warns(
        DeprecationWarning, match=r"Own: context and site by position is deprecated; write context=..., si"
    ):
        own = Own(X, 2, SMALL, 1, ((3,),), "z1")
    assert own.site == "z1"
    assert own.context_shapes == ((3,),)
    with pytest.warns(DeprecationWarning, match=r"Normal: context by position is deprecated; write con") as w:
        DiagonalNormal(X, 2, SMALL, ((3,),))
    assert w[0].filename == __file__
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(TypeError, match="too many positional arguments"),
    ):
        DiagonalNormal(X, 2, SMALL, ((3,),), "z1", 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Gaussian(2, X, SMALL, 1.0, ((3,),)),
        lambda: IAF(X, 2, SMALL, 2, 64, ((3,),)),
        lambda: StandardNormal(2, "z2"),
    ],
)
def test_what_all_leaves_share_is_given_by_name(call):
    with pytest.raises(TypeError, match=r"too many positional arguments; give .*, of which (context, )?site.* by name"):
        call()
