"""Hierarchies of any depth: built from lists, trained, evaluated, stored and loaded."""

import copy
import json
from functools import partial

import numpy as np
import pyro
import pytest
import torch
from matrix import described, loss
from torch.testing import assert_close

from ppl_vae import (
    MLP,
    VAE,
    Bernoulli,
    BottomUp,
    CodePrior,
    ConditionalNormal,
    ConvDecoder,
    ConvEncoder,
    DataSpec,
    DiagonalNormal,
    Exemplar,
    FlowPrior,
    FullRankNormal,
    GaussianMixture,
    Ladder,
    Prior,
    StandardNormal,
    VampPrior,
    VectorQuantized,
    build,
    evaluate,
    fit,
    fit_prior,
    load,
    traces,
)
from ppl_vae.cli.main import main
from ppl_vae.data import from_arrays
from ppl_vae.diagnostics import inference_gaps
from ppl_vae.distributions import positive
from ppl_vae.domain import Domain
from ppl_vae.evaluation import kl_per_unit
from ppl_vae.objectives import Capacity, FreeBits, needs
from ppl_vae.vae.build import rebuild

X = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()
SMALL = partial(MLP, hidden_dims=[8], activation="tanh")
NETS = {"encoder": SMALL, "decoder": SMALL}


def ladder(**parts):
    return build(
        described(context=parts.pop("context", False)), **({"latent_dim": [1, 2, 3], "seed": 0} | NETS | parts)
    )


def data():
    return from_arrays(np.random.default_rng(0).random((60, 1, 4, 4)).round(), domain=Domain("binary"))


def test_the_top_comes_first():
    vae = ladder()
    assert vae.formula() == (
        "p(x, z3, z2, z1) = StandardNormal(z3) ConditionalNormal(z2 | z3) ConditionalNormal(z1 | z2) "
        "Bernoulli(x | z1)\n"
        "q(z3, z2, z1 | x) = DiagonalNormal(z3 | x) DiagonalNormal(z2 | z3, x) DiagonalNormal(z1 | z2, x)"
    )
    model, guide = traces.pair(vae, X)
    for trace in (model, guide):
        assert [trace.nodes[f"z{i}"]["value"].shape for i in (3, 2, 1)] == [(5, 1), (5, 2), (5, 3)]
    vae.zero_grad()
    loss(vae, [X]).backward()
    assert all(p.grad.any() for p in vae.parameters())
    assert vae.sample(3, seed=0).shape == (3, 1, 4, 4)


def test_the_loss_is_the_sum_of_its_levels():
    vae = ladder(latent_dim=[1, 2]).double()
    x = X.double()
    torch.manual_seed(0)
    _, guide = traces.pair(vae, x)
    z2, z1 = (guide.nodes[f"z{i}"]["value"] for i in (2, 1))
    top, below = vae.prior.levels
    log_p = top.given().log_prob(z2) + below.given(z2).log_prob(z1) + vae.likelihood.given(z1).log_prob(x)
    q2, q1 = vae.posterior.levels
    log_q = q2.given(x).log_prob(z2) + q1.given(z2, x).log_prob(z1)
    assert_close(loss(vae, [x]), (log_q - log_p).sum())


CHOSEN = {
    "one prior for the top": {"prior": partial(VampPrior, num_components=3)},
    "a class a level": {
        "latent_dim": [2, 3],
        "prior": [partial(GaussianMixture, num_components=2), FlowPrior],
        "posterior": [FullRankNormal, DiagonalNormal],
    },
    "one dimension": {"latent_dim": 2, "prior": [StandardNormal, StandardNormal]},
    "nets of their own": {"latent_dim": [1, 2], "prior": [StandardNormal, partial(ConditionalNormal, net=SMALL)]},
    "codes above": {
        "latent_dim": [2, 3],
        "prior": [CodePrior, ConditionalNormal],
        "posterior": [partial(VectorQuantized, num_codes=4), DiagonalNormal],
    },
    "a level alone": {"latent_dim": [2]},
    "nothing given": {"latent_dim": 2, "prior": ConditionalNormal},
}


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("parts", CHOSEN.values(), ids=CHOSEN)
def test_a_recipe_rebuilds_them(parts, context):
    vae = ladder(context=context, **parts).double().eval()
    args = [X.double(), *([torch.randn(5, 3).double()] if context else [])]
    again = rebuild(json.loads(json.dumps(vae.recipe))).double().eval()
    again.load_state_dict(vae.state_dict())
    assert repr(again) == repr(vae)
    assert loss(again, args) == loss(vae, args)
    assert loss(vae, args).isfinite()


def test_an_encoder_of_images_sees_images_on_every_level():
    vae = ladder(latent_dim=[1, 2], encoder=ConvEncoder, decoder=partial(ConvDecoder, channels=(4,)), context=True)
    assert loss(vae, [X, torch.randn(5, 3)]).isfinite()
    with pyro.plate("particles", 3, dim=-2):
        _, guide = traces.pair(vae, X, torch.randn(5, 3))
    assert guide.nodes["z1"]["value"].shape == (3, 5, 2)


def test_from_fit_to_load(tmp_path):
    vae, digits = build(data(), latent_dim=[1, 2, 3], seed=0, **NETS), data()
    fitted = fit(vae, digits, epochs=2, device="cpu", run=tmp_path / "run")
    assert fitted.history.train_elbo.notna().all()
    again = load(tmp_path / "run").vae
    first, second = (evaluate(v, digits.test, num_samples=30, seed=0, progress=False) for v in (vae, again))
    assert first.per_datum.equals(second.per_datum)
    assert {"kl_z3", "kl_z2", "kl_z1"} <= set(first.per_datum)


@pytest.mark.usefixtures("coarse")
@pytest.mark.usefixtures("coarse", "no_sbc")
def test_on_the_command_line(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--data", "digits", "--take", "30", "--epochs", "2", "--device", "cpu", "--latent-dim", "[2, 3, 4]"]
    assert main(["train", *words, "--prior", "VampPrior", "--prior.num_components", "5", "--run", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "p(x, z3, z2, z1) = VampPrior(z3; 5) ConditionalNormal(z2 | z3) ConditionalNormal(z1 | z2) Bern" in said
    assert main(["evaluate", str(folder), "--num-samples", "30"]) == 0
    assert main(["diagnose", str(folder), "--num-samples", "30", "--take", "20"]) == 0
    assert main(["sample", str(folder), "--num", "4"]) == 0
    options = ["--config", str(folder / "options.yaml"), "--run", str(tmp_path / "again")]
    assert main(["train", *options]) == 0
    recipes = [json.loads((p / "config.json").read_text())["recipe"] for p in (folder, tmp_path / "again")]
    assert recipes[0] == recipes[1]
    assert recipes[0]["latent_dim"] == [2, 3, 4]


class NoSite(Prior):
    def __init__(self, latent_dim):
        super().__init__()
        self.inner = StandardNormal(latent_dim)

    def given(self, *context):
        return self.inner.given()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"latent_dim": [1, 2, 3], "prior": [StandardNormal, ConditionalNormal]},
            r"lists of the same length, an entry for each level, got \{'latent_dim': 3, 'prior': 2\} entries; give one",
        ),
        ({"latent_dim": []}, "lists of the same length"),
        (
            {"latent_dim": [1, 2], "prior": [StandardNormal, VampPrior]},
            r"VampPrior expects to be the top level of a hierarchy, .*, got level 'z1'; give it first, as prior=\[Vamp",
        ),
        (
            {"latent_dim": [1, 2], "prior": [StandardNormal, partial(Exemplar, num_components=5)]},
            r"Exemplar expects to be the top level of a hierarchy",
        ),
        ({"latent_dim": [1, 2], "prior": NoSite}, r"takes site=, got NoSite, which samples 'z' in the place of 'z2'"),
        ({"latent_dim": [1, 2], "prior": [StandardNormal, DiagonalNormal]}, "makes a Prior here, got DiagonalNormal"),
    ],
)
def test_levels_that_do_not_fit(parts, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ladder(**parts)


def test_a_prior_fitted_afterwards_has_one_level():
    with pytest.raises(TypeError, match=r"a VAE with one latent site, got sites z3, z2, z1; fit such a prior with"):
        fit_prior(ladder(), X, StandardNormal)


def test_a_chain_by_hand_is_the_same():
    vae = ladder(latent_dim=[1, 2])
    by_hand = VAE(vae.prior, Bernoulli(2, (1, 4, 4), SMALL), vae.posterior)
    by_hand.likelihood.load_state_dict(vae.likelihood.state_dict())
    assert loss(by_hand, [X]) == loss(vae, [X])


def test_the_formula_conditions_on_what_is_used():
    said = repr(ladder(latent_dim=2, prior=[StandardNormal] * 3)).partition("\n")[0]
    assert said == "p(x, z3, z2, z1) = StandardNormal(z3) StandardNormal(z2) StandardNormal(z1) Bernoulli(x | z1)"


def with_ladder(**parts):
    return ladder(latent_dim=[1, 2, 3], posterior=Ladder, **parts).double().eval()


def test_a_ladder_is_the_product_of_the_prior_and_what_x_says():
    vae, x = with_ladder(), X.double()
    top, middle, _ = vae.posterior.levels
    z3 = torch.randn(5, 1).double()
    loc, raw = middle.net(x).unbind(-2)
    p, q = vae.prior.levels[1].given(z3), middle.given(z3, x)
    of_x = torch.distributions.Normal(loc, positive(raw))
    grid = torch.linspace(-3, 3, 7).double()[:, None, None].expand(7, 5, 2)
    each = (q.base_dist.log_prob(grid) - p.base_dist.log_prob(grid) - of_x.log_prob(grid)).detach()
    assert_close(each, each[:1].expand_as(each))  # up to its constant
    loc, raw = top.net(x).unbind(-2)
    assert_close(top.given(x).mean, loc)
    assert vae.formula().endswith("q(z3, z2, z1 | x) = Ladder(z3 | x) Ladder(z2 | z3, x) Ladder(z1 | z2, x)")


def test_a_ladder_shares_its_parameters_with_the_prior_in_copies_too(tmp_path):
    vae, x = with_ladder(), X.double()
    q = vae.posterior.levels[1].given(torch.ones(5, 1).double(), x).mean.sum()
    assert all(g is not None for g in torch.autograd.grad(q, list(vae.prior.levels[1].parameters())))
    again = rebuild(json.loads(json.dumps(vae.recipe))).double().eval()
    again.load_state_dict(vae.state_dict())
    for other in (again, copy.deepcopy(vae)):
        assert loss(other, [x]) == loss(vae, [x])
        with torch.no_grad():
            other.prior.levels[1].net.layers[0].weight.zero_()
        moved = other.posterior.levels[1].given(torch.ones(5, 1).double(), x).mean
        assert not torch.equal(moved, vae.posterior.levels[1].given(torch.ones(5, 1).double(), x).mean)


@pytest.mark.parametrize("top", [StandardNormal, partial(VampPrior, num_components=3), FlowPrior])
def test_a_ladder_trains_below_any_prior(top, tmp_path):
    vae = build(data(), latent_dim=[2, 3], prior=[top, ConditionalNormal], posterior=Ladder, seed=0, **NETS)
    fit(vae, data(), epochs=1, progress=False, run=tmp_path / "run")
    found = [
        evaluate(v, data().test, num_samples=20, seed=0, progress=False) for v in (vae, load(tmp_path / "run").vae)
    ]
    assert found[0].per_datum.equals(found[1].per_datum)
    assert found[0].per_datum.log_px.notna().all()
    labelled = with_ladder(context=True)
    assert loss(labelled, [X.double(), torch.randn(5, 3).double()]).isfinite()


def test_a_ladder_is_refined_by_datum():
    vae = build(data(), latent_dim=[1, 2], posterior=Ladder, seed=0, **NETS)
    fit(vae, data(), epochs=20, progress=False, seed=0)
    found = inference_gaps(vae, data().test.x[:6], num_samples=200, seed=0, progress=False)
    gained, error = found["refined_elbo"] - found["elbo"], np.hypot(found["elbo_mcse"], found["refined_elbo_mcse"])
    assert (gained > -4 * error).all()
    assert gained.mean() > 0
    assert (found["refined_elbo"] < found["log_px"] + 4 * np.hypot(error, found["log_px_mcse"])).all()


def test_a_ladder_of_one_level_or_below_another_prior_is_refused():
    for dim in (2, [2]):
        with pytest.raises(
            ValueError, match=r"Ladder expects two levels or more, .*, got one; give latent_dim=\[2, 8\]"
        ):
            ladder(latent_dim=dim, posterior=Ladder)
    two = {"latent_dim": [2, 3], "prior": [StandardNormal, FlowPrior], "posterior": [DiagonalNormal, Ladder]}
    for context in ([], [torch.randn(5, 3)]):
        with pytest.raises(
            ValueError, match="Ladder expects a normal prior with independent coordinates at its level, got"
        ):
            loss(ladder(context=bool(context), **two), [X, *context])
    with pytest.raises(ValueError, match="an encoder that is given the 1 contexts of its prior, got one of 0; name"):
        with_ladder(context=True, context_to=("prior", "decoder"))


def bottom_up(**parts):
    return ladder(latent_dim=[1, 2, 3], posterior=BottomUp, **parts).double().eval()


def test_a_bottom_up_posterior_is_the_product_of_its_levels():
    vae, x = bottom_up(), X.double()
    trace = pyro.poutine.trace(vae.guide).get_trace(x)
    z1, z2, z3 = (trace.nodes[name]["value"] for name in ("z1", "z2", "z3"))
    one, two, three = vae.posterior.levels
    trace.compute_log_prob()
    expected = [one.given(x).log_prob(z1), two.given(z1).log_prob(z2), three.given(z2).log_prob(z3)]
    assert_close(torch.stack([trace.nodes[f"z{i}"]["log_prob"] for i in (1, 2, 3)]), torch.stack(expected))
    assert vae.formula().endswith("q(z3, z2, z1 | x) = BottomUp(z1 | x) BottomUp(z2 | z1) BottomUp(z3 | z2)")
    labelled = bottom_up(context=True)
    assert labelled.formula().endswith("= BottomUp(z1 | x, c) BottomUp(z2 | z1, c) BottomUp(z3 | z2, c)")
    assert loss(labelled, [x, torch.randn(5, 3).double()]).isfinite()


def test_a_bottom_up_posterior_trains_and_is_stored(tmp_path):
    vae = build(data(), latent_dim=[2, 3], posterior=BottomUp, seed=0, **NETS)
    fit(vae, data(), epochs=2, progress=False, run=tmp_path / "run")
    found = [
        evaluate(v, data().test, num_samples=20, seed=0, progress=False) for v in (vae, load(tmp_path / "run").vae)
    ]
    assert found[0].per_datum.equals(found[1].per_datum)
    x, ladder_ = data().test.x, build(data(), latent_dim=[2, 3], posterior=Ladder, seed=0, **NETS)
    ladder_.prior.load_state_dict(vae.prior.state_dict())
    ladder_.likelihood.load_state_dict(vae.likelihood.state_dict())
    by_q = [evaluate(v, x[:8], num_samples=20_000, seed=0, progress=False).per_datum for v in (vae, ladder_)]
    error = np.hypot(by_q[0].log_px_mcse, by_q[1].log_px_mcse)
    assert ((by_q[0].log_px - by_q[1].log_px).abs() < 5 * error).all()  # log p(x) of one model, by two posteriors


def test_what_a_bottom_up_posterior_refuses():
    with pytest.raises(ValueError, match=r"BottomUp expects two levels or more, .*, got one"):
        ladder(latent_dim=2, posterior=BottomUp)
    with pytest.raises(ValueError, match="BottomUp at all levels or at none, got it beside DiagonalNormal"):
        ladder(latent_dim=[1, 2], posterior=[BottomUp, DiagonalNormal])
    with pytest.raises(ValueError, match="VampPrior expects a posterior given data, got BottomUp"):
        ladder(latent_dim=[1, 2], prior=[VampPrior, ConditionalNormal], posterior=BottomUp)


def test_kls_where_q_draws_in_another_order():
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    spec = DataSpec((6,), Domain("binary"))
    small = partial(MLP, hidden_dims=[5])
    vae = build(spec, latent_dim=[2, 3], posterior=BottomUp, encoder=small, decoder=small, seed=0)
    with pytest.raises(ValueError, match="FreeBits expects model and guide to sample their sites in the same order"):
        fit(vae, x, epochs=1, objective=FreeBits(0), seed=0, progress=False)
    model, guide = traces.pair(vae, x)
    found = sum(kl for _, kl in needs.mean_kls(model, guide, len(x)))
    log_q, log_p = (sum(map(traces.total, traces.latents(trace).values())) for trace in (guide, model))
    assert_close(found, (log_q - log_p) / len(x))
    fit(vae, x, epochs=1, objective=Capacity(0), seed=0, progress=False)


def test_kl_per_unit_has_no_closed_form_where_q_draws_in_another_order():
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    vae = build(DataSpec((6,), Domain("binary")), latent_dim=[2, 3], posterior=BottomUp, seed=0)
    assert {what for _, what in kl_per_unit(vae, x, seed=0).values()}.isdisjoint({"KL"})
    top_down = build(DataSpec((6,), Domain("binary")), latent_dim=[2, 3], posterior=Ladder, seed=0)
    assert {what for _, what in kl_per_unit(top_down, x, seed=0).values()} == {"KL"}
