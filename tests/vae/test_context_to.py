"""The context of data, given to the prior, the encoder, the decoder, or some of them."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from small_models import SMALL
from torch.testing import assert_close

from ppl_vae import (
    ConditionalNormal,
    Domain,
    FullRankNormal,
    NegativeBinomial,
    Poisson,
    VampPrior,
    build,
    cli,
    evaluate,
    fit,
    fit_prior,
    load,
)
from ppl_vae.data import from_arrays
from ppl_vae.diagnostics import to_arviz
from ppl_vae.manifold import code_grid
from ppl_vae.vae.build import rebuild

PARTS = ("prior", "encoder", "decoder")


def cells(n=60):
    """Counts of three batches."""
    rng = np.random.default_rng(0)
    batch = rng.integers(3, size=n)
    x = rng.poisson(2 + 3 * batch[:, None], (n, 5))
    return from_arrays(x, context=np.array(["a", "b", "c"])[batch], domain=Domain("counts"))


def built(source=None, **parts):
    return build(source or cells(), **{"latent_dim": 2, "encoder": SMALL, "decoder": SMALL, "seed": 0, **parts})


def uses(vae, source):
    """The parts whose distribution another batch changes."""
    x, c = source.test.x, source.test.context[0]
    other = c.roll(1, -1)
    z = torch.zeros(len(x), 2)
    found = {
        "prior": [vae.prior.given(*vae.given_to("prior", (given,))).mean for given in (c, other)],
        "encoder": [vae.encode(x, given).mean for given in (c, other)],
        "decoder": [vae.decode(z, given).mean for given in (c, other)],
    }
    return {part for part, (a, b) in found.items() if not torch.equal(a.expand_as(b), b)}


@pytest.mark.parametrize("to", [to for k in (1, 2, 3) for to in combinations(PARTS, k)], ids="-".join)
def test_only_the_parts_named_depend_on_the_context(to):
    source = cells()
    vae = built(source, prior=ConditionalNormal, context_to=to)
    fit(vae, source, epochs=1, seed=0, progress=False)
    assert uses(vae, source) == set(to) == set(vae.context_to)
    again = rebuild(vae.recipe)
    assert (again.context_to, repr(again)) == (vae.context_to, repr(vae))
    assert ("context_to" in vae.recipe) == (len(to) < 3)  # as older runs are stored


def test_all_are_given_it_by_default():
    assert built().context_to == PARTS
    assert_close(built().state_dict(), built(context_to=PARTS[::-1]).state_dict(), rtol=0, atol=0)


def test_the_formula_says_where_it_goes():
    said = built(context_to="decoder").formula()
    assert said == "p(x, z | c) = StandardNormal(z) NegativeBinomial(x | z, c)\nq(z | x) = DiagonalNormal"
    assert built(context_to="encoder").formula().endswith("NegativeBinomial(x | z)\nq(z | x, c) = DiagonalNormal")


def test_a_stored_run_brings_it_back_and_every_verb_takes_the_whole_context(tmp_path):
    source = cells()
    vae = built(source, context_to=["decoder"], posterior=FullRankNormal)
    fit(vae, source, epochs=2, seed=0, progress=False, run=tmp_path / "run")
    again = load(tmp_path / "run").vae
    assert again.context_to == ("decoder",)
    found = [evaluate(v, source.test, num_samples=30, seed=0, progress=False) for v in (vae, again)]
    assert found[0].per_datum.equals(found[1].per_datum)
    c = source.test.context[0]
    assert again.sample(len(c), c, seed=0).shape == source.test.x.shape
    assert again.reconstruct(source.test, seed=0).shape == source.test.x.shape
    assert to_arviz(again, source.test[:3], num_samples=30, seed=0, progress=False)
    with pytest.raises(ValueError, match="expects 1 contexts"):
        again.encode(source.test.x)


@pytest.mark.parametrize("to", ["decoder", ["prior", "encoder"]])
def test_hierarchies_and_priors_made_of_q(to):
    source = cells()
    for parts in ({"latent_dim": [2, 3]}, {"prior": partial(VampPrior, num_components=3)}):
        vae = built(source, context_to=to, **parts)
        fit(vae, source, epochs=1, seed=0, progress=False)
        assert evaluate(vae, source.test, num_samples=30, seed=0, progress=False).per_datum.log_px.notna().all()
    made = fit_prior(built(source, context_to=to), source, ConditionalNormal, epochs=1, progress=False)
    assert ("prior" in uses(made, source)) == ("prior" in to)
    assert code_grid(made, 2, source.test.context[0][0]).shape[-1] == 2


def test_an_exposure_may_go_to_the_decoder_alone():
    x = np.random.default_rng(0).poisson(3, (40, 2))
    source = from_arrays(x, context=np.linspace(1, 9, 40), standardize_context=False, domain=Domain("counts"))
    vae = built(source, likelihood=partial(Poisson, exposure=True), context_to="decoder")
    z, e = torch.zeros(2, 2), torch.tensor([[1.0], [2.0]])
    assert_close(vae.encode(x[:2], e).mean, vae.encode(x[:2], 2 * e).mean)
    assert not torch.allclose(vae.decode(z, e).mean, vae.decode(z, 2 * e).mean)
    with pytest.raises(ValueError, match=r"got contexts \[\]; give the data a context \(n, 1\) that goes to the decod"):
        built(source, likelihood=partial(Poisson, exposure=True), context_to="encoder")


def test_what_could_not_be_used_is_refused():
    plain = from_arrays(np.random.default_rng(0).poisson(3, (40, 2)), domain=Domain("counts"))
    with pytest.raises(ValueError, match="expects data with a context, got none and context_to='decoder'; give"):
        built(plain, context_to="decoder")
    with pytest.raises(ValueError, match=r"got context_to=\['prior'\] and StandardNormal, which does not; give it to"):
        built(context_to="prior")
    with pytest.raises(ValueError, match=r"made of q.*got context_to=\['encoder', 'decoder'\]; give it to prior and"):
        built(prior=VampPrior, context_to=["decoder", "encoder"])
    with pytest.raises(ValueError, match="made of q"):
        fit_prior(built(context_to=["decoder", "encoder"]), cells(), VampPrior, epochs=1, progress=False)
    with pytest.raises(ValueError, match="context_to to be 'prior' or 'encoder' or 'decoder'"):
        built(context_to=["decoder", "batch"])


def test_the_command_line(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "cells.npz", x=rng.poisson(3, (60, 5)), context=np.repeat(["a", "b"], 30))
    words = ["train", "--data", tmp_path / "cells.npz", "--epochs", 1, "--run", tmp_path / "run", "--device", "cpu"]
    words += ["--likelihood", NegativeBinomial.__name__, "--latent-dim", 2]
    assert cli.main([*map(str, words), "--context-to", "decoder"]) == 0
    assert "q(z | x) = DiagonalNormal" in capsys.readouterr().out
    assert load(tmp_path / "run").vae.context_to == ("decoder",)
    with pytest.raises(SystemExit):
        cli.main([*map(str, words), "--context-to", "batch"])
    assert "--context-to expects" in capsys.readouterr().err
