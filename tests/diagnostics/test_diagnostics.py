"""What holds of every diagnostic, over every kind of program; each one's own numbers are tested in its own file."""

import copy
import re
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro import poutine
from small_models import CASES, SMALL, conditional, diagonal, hierarchy, ppca, two_modes, two_sites

import ppl_vae
from ppl_vae import Flat, Laplace, Point, Program, build, diagnostics
from ppl_vae.diagnostics import check_guide, diagnose, group, groups, open_tree
from ppl_vae.diagnostics.guide.check_guide import GuideCheck
from ppl_vae.diagnostics.results.arviz_io import is_tree

DIAGNOSTICS = {
    "active_units": partial(diagnostics.active_units, num_samples=50),
    "aggregated_posterior": partial(diagnostics.aggregated_posterior, num_samples=50, num_permutations=20),
    "ais from prior": partial(diagnostics.ais, num_temperatures=20, num_chains=4),
    "ais from guide": partial(diagnostics.ais, num_temperatures=20, num_chains=4, init="guide"),
    "bdmc": partial(diagnostics.bdmc, num_simulations=4, num_temperatures=20, num_chains=4),
    "check_guide": partial(check_guide, num_samples=50),
    "elpd": partial(diagnostics.elpd, num_samples=50),
    "hmc": partial(diagnostics.hmc, num_warmup=50, num_samples=25),
    "inference_gaps": partial(diagnostics.inference_gaps, num_steps=20, num_samples=50),
    "log_marginal_likelihood": partial(diagnostics.log_marginal_likelihood, num_samples=50),
    "log_weights": partial(diagnostics.log_weights, num_samples=50),
    "predictive_check": partial(diagnostics.posterior_predictive_check, num_replicates=10),
    "predictive_check datum": partial(diagnostics.posterior_predictive_check, num_replicates=10, level="datum"),
    "quadrature": partial(diagnostics.log_marginal_likelihood, method="quadrature"),
    "quadrature_posterior": partial(diagnostics.quadrature_posterior, num_points=33, num_draws=50),
    "sbc": partial(diagnostics.simulation_based_calibration, num_simulations=60, num_draws=9),
    "to_arviz": partial(diagnostics.to_arviz, num_samples=30, num_predictive=3),
}
each = pytest.mark.parametrize("name", DIAGNOSTICS)


def numbers(result):
    """Every number of a result, whatever holds it."""
    if isinstance(result, GuideCheck):
        return numbers(result.dataset)
    if is_tree(result):  # a DataTree has a dataset of its own, at its root
        return {f"{g}/{n}": v for g in groups(result) for n, v in numbers(group(result, g)).items()}
    if isinstance(result, xr.Dataset):
        return {str(n): v.values for n, v in result.data_vars.items()}
    return numbers(result.dataset)


@each
@pytest.mark.parametrize("make", CASES)
def test_runs_on_every_kind_of_program(make, name):
    """The same from the same seed, no two from fresh ones; and nothing is changed by it."""
    case = make()
    check = partial(DIAGNOSTICS[name], case.program, case.x, *case.context, mask=case.mask)
    check_guide(case.program, case.x, *case.context, mask=case.mask, num_samples=25)  # a Program makes its parameters
    case.program.train()
    weights, random = copy.deepcopy(case.program.state_dict()), torch.get_rng_state()
    result = numbers(check(seed=3))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(w, case.program.state_dict()[n]) for n, w in weights.items())
    assert all(module.training for module in case.program.modules())
    assert not len(pyro.get_param_store())
    assert any(np.isfinite(v).all() for v in result.values())
    again = numbers(check(seed=3))
    for key, values in result.items():
        np.testing.assert_array_equal(values, again[key], err_msg=key)


@pytest.mark.parametrize("make", [conditional, hierarchy, two_sites])
def test_one_call_for_all_of_them(make, tmp_path):
    case = make(8)
    call = {"full": True, "num_samples": 50, "subset": 2, "length": 50, "seed": 0, "mask": case.mask}
    found = diagnose(case.program, case.x, *case.context, **call)
    assert found.left_out == {}
    text = found.report({"compare_posteriors": ["figures/posteriors.png"]})
    advised = "next_step" in found.results  # where some k-hat is too high
    assert text.count("\n## ") == 1 + 11 + advised  # in short, and the sections
    assert "![figures/posteriors.png](figures/posteriors.png)" in text
    tree = found.to_arviz()
    tree.to_netcdf(str(tmp_path / "posterior.nc"))
    again = open_tree(tmp_path / "posterior.nc")
    assert set(groups(again)) == set(groups(tree))
    one = again.sel(obs=int(found.chosen.index[0]))
    for name in ("inference_gaps", "ais_prior", "compare_posteriors", "diagnostics"):
        assert "obs" not in one[name].sizes, name
    if make is conditional:
        quick = diagnose(case.program, case.x, *case.context, mask=case.mask, num_samples=50, seed=0)
        assert set(quick.results) < set(found.results)
        assert not advised or "obs" not in found["next_step"].dims


def test_the_verdict_brings_together_what_each_is_blind_to():
    """By its own draws a q on one of two modes is perfect."""
    x = 1 + torch.rand(8, generator=torch.Generator().manual_seed(0))
    found = diagnose(two_modes(), x, full=True, num_samples=400, length=150, seed=0)
    assert float(found.check.dataset.pareto_k.max()) < 0.7
    assert "close" in found.check.report() or "off" in found.check.report()
    verdict = str(found.in_short()).splitlines()[0]
    assert "By its own draws" in verdict
    assert "it misses modes" in verdict
    assert "chains of HMC disagree" in verdict
    assert re.search("modes that q never visits.* Yes: log p", found.in_short())
    exact = ppca(n=30)
    good = diagnose(exact.vae, exact.x, full=True, num_samples=400, subset=5, length=100, seed=0)
    assert "no evidence against it" in str(good.in_short()).splitlines()[0]
    assert "next to no gap to explain" in good.report()
    assert "No sign that it is not" in good.report()


def test_what_refuses_a_program_is_left_out():
    """A model that observes another thing than x cannot be simulated from; everything else is still said."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0).to_event(1))
            pyro.sample("doubled", dist.Normal(z, 1.0).to_event(1), obs=2 * x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 0.8).to_event(1))

    found = diagnose(Program(model, guide), torch.randn(6, 2).double(), num_samples=50, seed=0)
    assert set(found.left_out) == {"simulation_based_calibration", "predictive_check"}
    assert "## Left out" in found.report()
    assert "observes x as it came" in found.left_out["simulation_based_calibration"]


def test_results_have_units_and_say_what_they_cannot_see():
    case = diagonal()
    for name, check in DIAGNOSTICS.items():
        result = check(*case.args, seed=0)
        result = result if is_tree(result) else getattr(result, "dataset", result)  # a DataTree has one
        if isinstance(result, xr.Dataset):
            assert result.attrs["cannot_see"], name
            assert all(v.attrs["units"] for v in result.data_vars.values()), name
        else:
            assert name == "to_arviz" or any("cannot_see" in group(result, g).attrs for g in groups(result)), name


@each
def test_bad_input(name):
    check, (program, x, *_) = DIAGNOSTICS[name], diagonal()
    with pytest.raises(TypeError, match=r"expects a module with \.model and \.guide, got object"):
        check(object(), x)
    with pytest.raises(TypeError, match="data expect a tensor or a Split, got list"):
        check(program, [1, 2])
    with pytest.raises(ValueError, match="data expect at least one datum, got none"):
        check(program, x[:0])
    with pytest.raises(ValueError, match=r"data expect finite values, got 1 of .* that are NaN"):
        check(program, torch.cat([torch.full_like(x[:1, :, :1, :1], torch.nan).expand(1, 1, 1, 1), x[:1, :, :1, :1]]))
    if name not in ("bdmc", "sbc", "predictive_check"):  # which take its shape from x, and no value
        with pytest.raises(ValueError, match=r"Bernoulli expects x in \{0, 1\}, got values"):
            check(program, 0.5 * x)


@each
@pytest.mark.parametrize("prior", [Laplace, Flat])
def test_a_point_is_no_posterior(name, prior):
    case = diagonal()
    vae = build(_described(), latent_dim=2, prior=prior, posterior=Point, encoder=SMALL, decoder=SMALL, seed=0)
    vae = vae.double()
    check = partial(DIAGNOSTICS[name], vae, case.x, seed=0)
    if name == "predictive_check datum" or (name == "predictive_check" and prior is Laplace):
        numbers(check())  # replicates need draws alone
        return
    with pytest.raises(ValueError, match=r"point mass|improper|Flat"):
        check()


@each
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("missing", r"the model has \{'z'\}"),
        ("global", r"expect every site in one plate over the 3 data, got \['shift'"),
    ],
)
def test_guides_that_do_not_fit(name, where, message):
    def model(x):
        shift = pyro.sample("shift", dist.Normal(0.0, 1.0)) if where == "global" else 0.0
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + shift, 1.0).to_event(1), obs=x)

    def guide(x):
        if where == "global":
            pyro.sample("shift", dist.Normal(0.0, 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    with pytest.raises(ValueError, match=message):
        DIAGNOSTICS[name](Program(model, guide), torch.randn(4, 2), seed=0)


@each
def test_one_datum(name):
    """An answer, or a refusal that says why one is too few."""
    case = diagonal()
    check = partial(DIAGNOSTICS[name], case.program, case.x[:1], seed=0)
    if name == "active_units":
        with pytest.raises(ValueError, match="two data or more"):
            check()
    else:
        numbers(check())


@pytest.mark.parametrize("num_samples", [1, 24])
def test_too_few_draws_for_k_hat(num_samples):
    case = diagonal()
    for name in ("check_guide", "active_units", "inference_gaps", "to_arviz"):
        with pytest.raises(ValueError, match=r"25"):
            partial(DIAGNOSTICS[name], num_samples=num_samples)(*case.args)
    with pytest.raises(ValueError, match="diagnose expects 2 data or more"):
        diagnose(case.program, case.x[:1])


def _described():
    return ppl_vae.data.from_arrays(torch.rand(6, 1, 4, 4).round().numpy(), domain=ppl_vae.Domain("binary"))


def test_check_guide_says_what_is_known():
    good, bad = ppca(), ppca(s=3.0)
    exact = check_guide(good.vae, good.x, num_samples=200, seed=0)
    assert float(abs(exact.dataset.kl_gap).max()) < 1e-9
    assert float(abs(exact.dataset.log_px - good.log_px.numpy()).max()) < 1e-9
    assert float(exact.dataset.pareto_k.max()) == 0
    assert "close, probabilities under q are off by at most 0.1" in exact.report()
    wide = check_guide(bad.vae, bad.x, num_samples=1000, seed=0)
    kl = 2 * (0.5 * 9 - 0.5 - np.log(3.0))  # two units, three times too wide
    assert float(wide.dataset.kl_gap.median()) == pytest.approx(kl, abs=0.2)
    assert "far, expectations under q are not those of the posterior" in wide.report()
    assert repr(wide.report()) == str(wide.report())
    assert "hmc(...) on x[check.stratified(100)]" in wide.report()
    gaps = wide.evaluation.per_datum.kl_gap
    order = gaps.to_numpy()[wide.stratified(7)]
    assert (np.diff(order) >= 0).all()
    assert len(order) == 7
    assert order[-1] == gaps.max() == gaps.iloc[int(wide.worst(1))]


def test_the_bias_of_log_p_is_the_one_reported():
    """Over many data, importance sampling with few draws lies as far too low as it says, to first order."""
    made = ppca(s=1.6, n=4000)
    check = check_guide(made.vae, made.x, num_samples=25, seed=0)
    error = check.dataset.log_px.values - made.log_px.numpy()
    standard = error.std(ddof=1) / len(error) ** 0.5
    assert abs(error.mean() - float(check.dataset.log_px_bias.mean())) < 4 * standard
    assert float(check.dataset.log_px_bias.mean()) < -3 * standard  # there is some to be found


def test_modules_are_found_by_their_old_names():
    with pytest.warns(DeprecationWarning, match=r"is ppl_vae.diagnostics.results.arviz_io now"):
        assert diagnostics.arviz_io.is_tree is is_tree
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        diagnostics.nonsense  # noqa: B018


def test_a_diagnostic_of_ones_own_changes_nothing():
    """It draws, and calls the model; a question without a verdict refers to the result."""

    def run(subject, results):
        poutine.trace(subject.program.model).get_trace(subject.chosen.x)
        return xr.Dataset({"drawn": float(torch.randn(()))}, attrs={"cannot_see": "anything"})

    case, mine = diagonal(), diagnostics.Diagnostic(name="mine", question="Is it mine?", run=run)
    before = torch.get_rng_state()
    first, second = (diagnose(case.program, case.x, num_samples=30, seed=0, diagnostics=[mine]) for _ in range(2))
    assert first.left_out == second.left_out == {}
    assert first["mine"].drawn == second["mine"].drawn
    assert torch.equal(before, torch.get_rng_state())
    assert not len(pyro.get_param_store())
    assert "* Is it mine? See mine." in first.in_short()
    assert "## Is it mine?" in first.report()


def of_ones_own(**parts):
    run = {"run": lambda subject, results: xr.Dataset({"a": 1.0}, attrs={"cannot_see": "anything"})}
    mine = diagnostics.Diagnostic(**{"name": "mine", "question": "Is it mine?", **run, **parts})
    case = diagonal()
    return diagnose(case.program, case.x, num_samples=30, seed=0, diagnostics=[mine])


def broken(*_):
    raise KeyError("sd")


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"verdict": broken}, RuntimeError, "'mine' expects its verdict to be made of its result, got KeyError: 'sd'"),
        (
            {"verdict": lambda *_: "It is."},
            TypeError,
            "'mine' expects its verdict to give a list of sentences, got 'It",
        ),
        ({"against": broken}, RuntimeError, "'mine' expects its against to be made of its result, got KeyError"),
    ],
    ids=["verdict raises", "verdict is text", "against raises"],
)
def test_a_record_whose_words_are_wrong_is_named(parts, error, message):
    found = of_ones_own(**parts)
    for said in (found.report, found.in_short):
        with pytest.raises(error, match=message):
            said()


@pytest.mark.parametrize(
    ("figures", "error", "message"),
    [
        (broken, RuntimeError, "'mine' expects its figures to be made of its result, got KeyError"),
        (lambda *_: ["a.png"], TypeError, "'mine' expects its figures to give figures, got \\['a.png'\\]"),
    ],
    ids=["raise", "are paths"],
)
def test_a_record_whose_figures_are_wrong_is_named(figures, error, message):
    found = of_ones_own(figures=figures)
    with pytest.raises(error, match=message):
        list(found.figures())


def test_a_record_whose_result_is_no_dataset_is_named():
    with pytest.raises(TypeError, match=r"'mine' expects `run` to return an xarray.Dataset or an ArviZ tree, got dict"):
        of_ones_own(run=lambda *_: {"a": 1.0})


def test_two_records_of_one_name():
    case, twice = diagonal(), diagnostics.DIAGNOSTICS[:1] * 2
    with pytest.raises(ValueError, match=r"different names, got 'simulation_based_calibration' twice; leave one out"):
        diagnose(case.program, case.x, num_samples=30, seed=0, diagnostics=twice)


def test_the_list_of_records_is_short_in_help():
    assert len(repr(diagnostics.DIAGNOSTICS)) < 500
