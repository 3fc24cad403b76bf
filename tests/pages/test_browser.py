"""Pages in a browser: they load nothing, say no error, and answer a pointer and the keyboard."""

import json
from functools import partial
from importlib.resources import files

import pytest
import torch

import ppl_vae
from ppl_vae import DataSpec, Domain, build, likelihoods
from ppl_vae.pages.decoder import exported

EXPLORER = '[data-panel="explorer"]'
READ = "return document.querySelector(arguments[0]).toDataURL()"


def opened(browser, path):
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(path.as_uri())
    assert browser.execute_script("return 'ready' in document.body.dataset")


SETTLED = """
const done = arguments[0];
const asked = () => [...document.querySelectorAll("canvas[data-wanted]")];
const pending = () => asked().some((c) => c.dataset.drawn !== c.dataset.wanted);
const wait = () => requestAnimationFrame(() => (pending() ? wait() : done()));
requestAnimationFrame(wait);
"""


def settled(browser):
    """Wait until what was asked for is drawn."""
    browser.execute_async_script(SETTLED)


def element(browser, selector):
    found = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", found)
    return found


def pointer(browser):
    from selenium.webdriver import ActionChains

    return ActionChains(browser, duration=0)


@pytest.mark.parametrize(
    "kinds",
    [
        ("plane",),
        ("autoencoder",),
        ("conditional",),
        ("hierarchical",),
        ("recurrent",),
        ("table",),
        ("untrained",),
        ("plane", "hierarchical"),
    ],
    ids="-".join,
)
def test_a_page_loads_nothing_says_no_error_and_is_accessible(browser, page_of, kinds):
    path = page_of(*kinds)
    opened(browser, path)
    settled(browser)
    assert browser.get_log("browser") == []
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    # chrome: is what the browser draws its own controls with, such as the cross in a field
    assert {url for url in asked if not url.startswith(("data:", "chrome:"))} == {path.as_uri()}
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    axe = files("axe_core_python").joinpath("axe.min.js").read_text()
    browser.execute_script(axe)
    found = browser.execute_async_script("const done = arguments[0]; axe.run().then((r) => done(r.violations))")
    assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == []


@pytest.mark.parametrize("kind", ["plane", "recurrent"])
def test_dragging_in_the_plane_changes_what_is_decoded(browser, page_of, kind):
    opened(browser, page_of(kind))
    settled(browser)
    shown = "return document.querySelector('[data-panel=\"explorer\"] .result').innerHTML"
    read = (
        partial(browser.execute_script, READ, f"{EXPLORER} canvas")
        if kind == "plane"
        else partial(browser.execute_script, shown)
    )
    before = read()
    plane = element(browser, f"{EXPLORER} svg.drag")
    pointer(browser).move_to_element(plane).click_and_hold().move_by_offset(60, -40).release().perform()
    settled(browser)
    assert read() != before


def test_a_slider_of_the_explorer_follows_the_keyboard(browser, page_of):
    from selenium.webdriver import Keys

    opened(browser, page_of("plane"))
    settled(browser)
    before = browser.execute_script(READ, f"{EXPLORER} canvas")
    unit = element(browser, f"{EXPLORER} input[type=range]")
    value = unit.get_attribute("value")
    unit.send_keys(Keys.ARROW_RIGHT * 30)
    settled(browser)
    assert unit.get_attribute("value") != value
    assert browser.execute_script(READ, f"{EXPLORER} canvas") != before


def test_another_condition_decodes_otherwise_and_another_plane_is_drawn(browser, page_of):
    opened(browser, page_of("conditional"))
    settled(browser)
    before = browser.execute_script(READ, f"{EXPLORER} canvas")
    across, up, labels = browser.find_elements("css selector", f"{EXPLORER} select")
    assert len(labels.find_elements("css selector", "option")) > 3
    labels.find_elements("css selector", "option")[3].click()
    settled(browser)
    assert browser.execute_script(READ, f"{EXPLORER} canvas") != before
    drawn = "return document.querySelector(arguments[0]).getAttribute('aria-label')"
    across.find_elements("css selector", "option")[-1].click()
    said = browser.execute_script(drawn, f"{EXPLORER} svg.drag")
    assert "principal direction 1 and principal direction 2" in said
    third = up.find_elements("css selector", "option")[2]
    third.click()
    assert third.text in browser.execute_script(drawn, f"{EXPLORER} svg.drag")


def test_samples_are_captioned_with_their_condition(browser, page_of):
    opened(browser, page_of("conditional"))
    settled(browser)
    tiles = browser.find_elements("css selector", '[data-panel="samples"] figure')
    assert len(tiles) == 24
    for tile in tiles:
        said = tile.find_element("css selector", "figcaption").text
        assert said in list("0123456789")
        label = tile.find_element("css selector", "canvas").get_attribute("aria-label")
        assert label.endswith(f"at temperature 1, given {said}")
    opened(browser, page_of("plane"))
    assert not browser.find_elements("css selector", '[data-panel="samples"] figcaption')


def test_hovering_shows_the_datum_and_clicking_its_posterior(browser, page_of):
    opened(browser, page_of("plane"))
    chart = element(browser, '[data-chart="data"]')
    point = chart.find_elements("css selector", "g path")[-1]
    pointer(browser).move_to_element(point).perform()
    settled(browser)
    hint = browser.find_element("id", "hint")
    assert hint.is_displayed()
    said = hint.text
    assert said.startswith("obs ")
    assert "KL from q to p(z | x)" in said
    drawn = browser.execute_script("return [...document.querySelectorAll('#hint canvas')].map((c) => c.dataset.drawn)")
    assert len(drawn) == 2
    assert None not in drawn
    pointer(browser).move_to_element(point).click().perform()
    card = element(browser, '[data-panel="data"] .card')
    assert card.find_element("css selector", "p").text.split(";")[0] == said.split(";")[0]
    assert said.split(",")[0].split(";")[0] in card.find_element(
        "css selector", '[data-chart="posterior"]'
    ).get_attribute("aria-label")


def test_the_temperature_changes_the_samples(browser, page_of):
    from selenium.webdriver import Keys

    opened(browser, page_of("plane"))
    settled(browser)
    samples = '[data-panel="samples"] canvas'
    before = browser.execute_script(READ, samples)
    element(browser, '[data-control="temperature"]').send_keys(Keys.HOME)
    settled(browser)
    tiles = "return new Set([...document.querySelectorAll(arguments[0])].map((c) => c.toDataURL())).size"
    assert browser.execute_script(READ, samples) != before
    assert browser.execute_script(tiles, samples) == 1  # at temperature 0 all are the prior's mean


def test_a_row_of_a_table_has_its_categories_and_dates(browser, page_of):
    opened(browser, page_of("table"))
    settled(browser)
    shown = browser.execute_script("return document.querySelector('[data-panel=\"explorer\"] .result').innerText")
    assert "age <b>" in shown
    assert any(colour in shown for colour in ("red", "</script><i>", "blue"))
    assert "20" in shown.partition("seen")[2]


LEAVES = {
    "Bernoulli": "binary",
    "ContinuousBernoulli": "unit",
    "Categorical": "levels",
    "OrderedLogistic": "levels",
    "DiscretizedLogistic": "levels",
    "DiscretizedLogisticMixture": "levels",
    "Beta": "unit",
    "Gaussian": "real",
    "CorrelatedGaussian": "real",
    "StudentT": "real",
    "LogNormal": "positive",
    "Multinomial": "counts",
    "NegativeBinomial": "counts",
    "ZeroInflatedNegativeBinomial": "counts",
}
ACTIVATIONS = ("relu", "elu", "gelu", "silu", "softplus", "tanh")
MIXED = Domain(("real", "categories", "counts", "levels", "positive", "categories"), (None, 3, None, 4, None, 5))


def decoders():
    """A decoder for each way of the script through its operations."""
    for name, kind in LEAVES.items():
        domain = Domain(kind, 5) if kind == "levels" else Domain(kind)
        yield name, build(DataSpec((3,), domain), latent_dim=3, likelihood=getattr(likelihoods, name), seed=0)
    for name in ACTIVATIONS:
        net = partial(ppl_vae.MLP, hidden_dims=[7], activation=name)
        yield name, build(DataSpec((3,), Domain("real")), latent_dim=3, decoder=net, seed=0)
    yield "gated", build(DataSpec((3,), Domain("binary")), latent_dim=3, decoder=ppl_vae.GatedMLP, seed=0)
    for net, shape in ((ppl_vae.ConvDecoder, (1, 5, 7)), (ppl_vae.Conv1dDecoder, (11,))):
        kinds = {"likelihood": ppl_vae.Gaussian, "decoder": partial(net, channels=[3, 2], hidden_dims=[7])}
        yield net.__name__, build(DataSpec(shape, Domain("real", shift=2.0, span=3.0)), latent_dim=3, seed=0, **kinds)
    yield "mixed", build(DataSpec((6,), MIXED), latent_dim=3, seed=0)


def test_the_script_decodes_as_torch_does(browser):
    wanted = {}
    for name, vae in decoders():
        with torch.no_grad():
            for parameter in vae.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
            z = torch.randn(1, 3)
            expected = vae.raw(vae.likelihood.typical(vae.decode(z))).flatten()
        wanted[name] = {"graph": exported(vae, z, most=10**6), "z": z[0].tolist()}, expected
    script = files("ppl_vae.pages").joinpath("graph.js").read_text()
    run = f"{script}\nreturn Object.entries(arguments[0]).map(([k, d]) => [k, [...runnable(d.graph)(d.z)]])"
    made = dict(browser.execute_script(run, {name: given for name, (given, _) in wanted.items()}))
    for name, (_, expected) in wanted.items():
        found = torch.tensor(made[name], dtype=torch.float64)
        torch.testing.assert_close(found, expected.double(), rtol=1e-5, atol=1e-5, msg=name)
