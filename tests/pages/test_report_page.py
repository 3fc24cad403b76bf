"""Pages of runs, as files."""

import json
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from conftest import QUICK, SETTINGS

import ppl_vae
from ppl_vae import priors
from ppl_vae.cli.main import main
from ppl_vae.data.columns import Column
from ppl_vae.pages.latents import Tempered, prior_draws
from ppl_vae.pages.mathml import mathml
from ppl_vae.pages.subject import _labels
from ppl_vae.pages.values import Looks, _column, plain


def values(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="values">(.*?)</script>', text, re.DOTALL)[1])


def test_a_page_says_the_verdict_first_and_what_each_diagnostic_cannot_see(page_of):
    text = page_of("plane").read_text(encoding="utf-8")
    sections = re.findall(r'<section id="(\w+)"', text)
    assert sections[:3] == ["verdict", "model", "numbers"]
    assert "<strong>Verdict.</strong> q is " in text or "<strong>Verdict.</strong> By its own draws" in text
    assert "Can log p(x) be believed?" in text
    assert "A mode of p(z | x) that q never visits" in text
    assert "Whether the decoder uses what the units carry" in text
    assert "ppl-vae report RUN --full</code> asks: Do chains of HMC from prior and q agree?</p>" in text
    assert len(text) < 15e6
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)


def test_labels_have_the_names_of_their_classes():
    x, names = torch.zeros(30, 4), ["cat", "dog", "fox"] * 10
    test = ppl_vae.data.from_arrays(x, names).test
    assert test.classes == ("cat", "dog", "fox")
    assert replace(test, classes=None).identity == test.identity
    assert test[:2].to("cpu").fixed().classes == test.classes
    assert set(_labels(test)["names"]) <= set(test.classes)
    unnamed = _labels(replace(test, classes=None))["names"]
    assert unnamed == [str(test.classes.index(name)) for name in _labels(test)["names"]]


def test_a_page_speaks_of_missing_pixels_where_there_are_some_and_says_why_two_kls_differ(page_of):
    assert not values(page_of("plane"))["runs"][0]["data"]["gaps"]
    assert "both differ from the means in this table" in page_of("plane").read_text(encoding="utf-8")
    assert "both differ from the means" not in page_of("autoencoder").read_text(encoding="utf-8")


def test_the_numbers_are_those_of_evaluate(page_of, runs):
    run, test = runs("plane")
    few = test[:24]
    expected = ppl_vae.evaluate(run.vae, few, num_samples=30, seed=0, progress=False)
    found = values(page_of("plane"))["runs"][0]["data"]
    assert found["obs"] == few.index.tolist()
    np.testing.assert_allclose(found["log_px"], expected.per_datum.log_px, rtol=1e-4)
    np.testing.assert_allclose(found["pareto_k"], expected.per_datum.pareto_k, rtol=1e-3)
    nll, se = expected.summary.loc["nll"]
    assert f"{nll:.3f} ± {se:.3f}" in page_of("plane").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("autoencoder", "An autoencoder: q is a point"),
        ("untrained", "was not trained for an epoch"),
        ("conditional", "<mi>c</mi>"),
        ("hierarchical", "<msub><mi>z</mi><mn>2</mn></msub>"),
        ("table", "seen"),
    ],
)
def test_runs_of_other_kinds_have_their_sentences(page_of, kind, said):
    text = page_of(kind).read_text(encoding="utf-8")
    assert said in text
    assert "</script><i>" not in text


def test_names_of_a_table_are_no_elements(page_of):
    text = page_of("table").read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    (found,) = values(page_of("table"))["runs"]
    assert found["looks"]["names"][0] == "age <b>"
    assert "</script><i>" in found["looks"]["columns"][1]["categories"]


def test_the_command_writes_the_page(runs, monkeypatch, tmp_path, capsys):
    folder, other = runs("plane")[0].path, runs("hierarchical")[0].path
    monkeypatch.setattr(ppl_vae, "report", partial(ppl_vae.report, diagnostics=QUICK))
    words = ["--take", "10", "--num-samples", "30"]
    assert main(["report", str(folder), *words]) == 0
    assert "open it in a browser" in capsys.readouterr().out
    assert "report.html" in (folder / "checksums.json").read_text()
    assert main(["report", str(folder), str(other), *words, "--out", str(tmp_path / "two" / "runs.html")]) == 0
    assert len(values(tmp_path / "two" / "runs.html")["runs"]) == 2


def test_samples_name_the_conditions_they_were_drawn_under(page_of, runs):
    (found,) = values(page_of("conditional"))["runs"]
    test = runs("conditional")[1]
    assert found["samples"]["given"] == [test.classes[int(y)] for y in test.y[:24]]
    assert values(page_of("plane"))["runs"][0]["samples"]["given"] == []


def test_an_autoencoder_has_reconstructions_and_no_samples(page_of):
    (found,) = values(page_of("autoencoder"))["runs"]
    assert found["samples"] is None
    assert found["posteriors"] is None
    assert found["latents"]["prior"] is None
    assert found["data"]["x_hat"]["png"].startswith("data:image/png;base64,")


def test_a_decoder_that_the_script_cannot_run_is_said(page_of):
    (found,) = values(page_of("recurrent"))["runs"]
    assert found["explorer"]["graph"] is None
    assert found["explorer"]["why"].startswith("the decoder uses aten.")
    assert len(found["explorer"]["plane"]["shown"]["rows"]) > 100


def test_several_runs_are_compared_by_the_same_data(page_of, runs):
    path = page_of("plane", "hierarchical")
    found = values(path)["compare"]
    results = {
        kind: ppl_vae.evaluate(run.vae, test[:24], num_samples=30, seed=0, progress=False)
        for kind in ("plane", "hierarchical")
        for run, test in [runs(kind)]
    }
    table = ppl_vae.compare(results)
    assert found["best"] == table.index[0]
    other = table.index[1]
    assert np.mean(found["others"][other]) == pytest.approx(-table.difference[other], abs=1e-3)
    assert f"{table.difference[other]:+.3f} ± {table.difference_se[other]:.3f}" in path.read_text(encoding="utf-8")


def test_runs_that_cannot_be_ranked_are_shown_with_the_reason(page_of):
    text = page_of("plane", "autoencoder").read_text(encoding="utf-8")
    assert "These runs are not ranked: compare expects log p(x) for every run" in text
    assert values(page_of("plane", "autoencoder"))["compare"] is None


def test_the_default_file_is_in_the_folder_of_the_run(runs):
    run, test = runs("untrained")
    path = ppl_vae.report(run.path, data=test, **SETTINGS)
    assert path == run.path / "report.html"
    ppl_vae.load(run.path)  # which warns of files that it does not know


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"runs": []}, "report expects one run or more, got none; give the folder of one"),
        ({"data": []}, "report expects one split for all runs or one for each, got 0 for 1"),
        ({"take": 0}, "report expects take to be a whole number from 1 on, got 0"),
    ],
)
def test_refusals(runs, given, message):
    run, test = runs("plane")
    with pytest.raises(ValueError, match=re.escape(message)):
        ppl_vae.report(**{"runs": run, "data": test, **SETTINGS, **given})


def test_a_program_is_refused(runs, tmp_path):
    program = ppl_vae.Program(lambda x: None, lambda x: None)
    run = ppl_vae.Run(program, runs("plane")[0].history, {}, tmp_path)
    with pytest.raises(ValueError, match="report expects runs of a VAE, got Program"):
        ppl_vae.report(run, data=runs("plane")[1], **SETTINGS)


def test_a_temperature_scales_a_normal_about_its_mean(runs):
    vae = runs("plane")[0].vae
    (one, _), (half, _), (none, _) = (prior_draws(vae, (), 50, 0, t) for t in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, one / 2)
    assert (none == 0).all()


def test_a_temperature_acts_at_each_level_given_the_one_above(runs):
    vae = runs("hierarchical")[0].vae
    z, sites = prior_draws(vae, (), 5, 0, 0.0)
    assert (sites["z2"] == 0).all()
    with torch.no_grad():
        torch.testing.assert_close(z, vae.prior.levels[1].given(torch.zeros(5, 2)).mean)


def test_a_temperature_refuses_latents_that_leave_their_support():
    with pyro.plate("data", 3), Tempered(0.5):
        with pytest.raises(ValueError, match="a temperature expects latents"):
            pyro.sample("z", dist.Categorical(torch.ones(5)))
        with pytest.raises(ValueError, match="a temperature expects latents"):
            priors.SphericalUniform(3)()


def test_a_flow_has_the_mean_of_its_draws():
    torch.manual_seed(0)
    prior = priors.FlowPrior(2)
    drawn = []
    for temperature in (1.0, 0.5):
        torch.manual_seed(1)
        with torch.no_grad(), pyro.plate("data", 6), Tempered(temperature):
            drawn.append(prior())
    one, half = drawn
    torch.testing.assert_close(half, one.mean(0) + (one - one.mean(0)) / 2)


def test_what_is_missing_is_transparent_and_what_is_not_finite_none():
    looks = Looks((1, 2, 2), (), (), 0.0, 1.0)
    grey = looks._grey(torch.tensor([[[[0.0, 1.0], [0.5, torch.nan]]]]))
    assert grey[0, ..., 0].tolist() == [[0, 255], [128, 0]]
    assert grey[0, ..., 1].tolist() == [[255, 255], [255, 0]]
    assert plain(np.array([1.0, np.nan, np.inf, 123456.7])) == [1.0, None, None, 123460.0]


@pytest.mark.parametrize(
    ("origin", "shown"),
    [(None, None), ("2020-02-03", "2020-02-03"), ("2020-02-03T00:30:00+01:00", "2020-02-03T00:30:00Z")],
)
def test_dates_of_a_page_are_those_of_the_clock_of_their_zone(origin, shown):
    assert _column(Column("t", "real", "datetime64[us, UTC+01:00]", origin=origin))["origin"] == shown


def test_mathml_of_every_part():
    found = mathml("q(z1 | x~) = Normal(scale=0.5), x~ = Noise(x)")
    assert "<mover><mi>x</mi><mo>~</mo></mover>" in found
    assert "<mi>Normal</mi>" in found
    assert "<mn>0.5</mn>" in found


def test_many_labels_are_values(runs):
    split = SimpleNamespace(y=torch.linspace(0, 1, 50), classes=None)
    assert len(_labels(split)["values"]) == 50
    split.y = torch.tensor([3, 1, 3])
    assert _labels(split) == {"names": ["1", "3"], "codes": [1, 0, 1]}
