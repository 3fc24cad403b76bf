"""Every page of `docs`: its Python runs, its files exist, its links lead somewhere, and a reader can find it."""

import importlib.util
import inspect
import re
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from ppl_vae import plots

DOCS = Path(__file__).parents[2] / "docs"
HOWTO = DOCS / "howto"
PAGES = sorted([*DOCS.glob("*.md"), *HOWTO.glob("*.md")])
WITH_CODE = [page for page in PAGES if "```python" in page.read_text()]


AS_WRITTEN = ["museum"]
"""Pages, besides the how-tos, that state what holds of a trained model alone."""


def name_of(page):
    return str(page.relative_to(DOCS).with_suffix(""))


@pytest.fixture
def few(monkeypatch):
    """Fewer epochs than the reader's, in whatever is trained."""
    fit = import_module("ppl_vae.training.fit")  # the module, not the function of that name
    settings = fit.Settings
    monkeypatch.setattr(fit, "Settings", lambda epochs, *others: settings(min(epochs, 3), *others))


@pytest.mark.float32
@pytest.mark.own_seeds
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_snippets_run_as_written(page, tmp_path, monkeypatch, request, capsys):
    if page.parent != HOWTO and page.stem not in AS_WRITTEN:
        request.getfixturevalue("few")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", page.read_text(), re.DOTALL)
    namespace: dict = {}
    for snippet, printed in snippets:
        capsys.readouterr()
        exec(compile(snippet, page.name, "exec"), namespace)
        if page.parent == HOWTO:
            assert words(capsys.readouterr().out) == words(printed)


def words(text):
    """What is printed, without the digits of its numbers, which processors round differently."""
    return re.sub(r"\d[\d.,]*(e[+-]?\d+)?", "0", text).split()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for target in re.findall(r"`(experiments/[\w./]+)`", text):
        assert (DOCS.parent / target).exists(), target


def test_every_page_is_found():
    readme, index = (DOCS.parent / "README.md").read_text(), (DOCS / "index.md").read_text().splitlines()
    listed = [*index, *(f"howto/{line}" for line in (HOWTO / "index.md").read_text().splitlines())]
    assert not [name_of(page) for page in PAGES if name_of(page) not in [*listed, "index"]]
    first_lines = {page: page.read_text().partition("\n")[0] for page in PAGES}
    assert not [page for page, line in first_lines.items() if line.startswith("# I have") and page.name not in readme]
    assert not [path for path in re.findall(r"\((docs/[\w./]+)\)", readme) if not (DOCS.parent / path).exists()]


def test_every_experiment_is_listed():
    root, page = DOCS.parent, (DOCS / "experiments.md").read_text()
    scripts = [file for file in (root / "experiments").rglob("*.py") if file.name != "results_file.py"]
    assert not [file for file in scripts if f"`{file.relative_to(root)}`" not in page]


def test_a_term_of_the_glossary_says_where_it_is_used():
    """By names that the package has, in alphabetical order."""
    page = re.search(r"```{glossary}\n(.*?)\n```", (DOCS / "glossary.md").read_text(), re.DOTALL)[1]
    entries = dict(re.findall(r"^(\S.*)\n((?:    .*\n?)+)", page, re.MULTILINE))
    assert len(entries) > 55
    assert list(entries) == sorted(entries, key=str.casefold)
    modules = [import_module(f"ppl_vae{part}") for part in ("", ".data", ".diagnostics", ".evaluation")]
    for term, text in entries.items():
        used = re.search(r"see (`.+`)\.$", " ".join(text.split()))
        assert used, term
        for name in re.findall(r"`(?:ppl_vae\.)?([\w.]+)`", used[1]):
            assert any(has(module, name) for module in modules), (term, name)


def has(module, name):
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


def test_a_how_to_is_a_question_with_a_short_answer():
    pages = [page for page in HOWTO.glob("*.md") if page.stem != "index"]
    assert len(pages) >= 25
    for page in pages:
        text = page.read_text()
        assert re.match(r"# (How|Which|What|When) .*\?\n", text), page.name
        assert "**What can go wrong.**" in text, page.name
        assert "```python" in text, page.name
        assert len(text.splitlines()) <= 110, page.name


@pytest.mark.float32
@pytest.mark.own_seeds
def test_the_gallery_draws_every_plot(tmp_path, monkeypatch, request):
    request.getfixturevalue("few")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "gallery.md").read_text()
    sections = re.split(r"\n### (\w+)\n", page)
    assert sorted(sections[1::2]) == sorted(plots.__all__)
    namespace: dict = {}
    plt.close("all")
    for name, section in zip(["", *sections[1::2]], sections[::2], strict=True):
        (code,) = re.findall(r"```\{code-cell\} python3\n(?:---\n.*?---\n)?(.*?)```", section, re.DOTALL)
        assert f"plots.{name}(" in code or not name
        exec(compile(code, f"gallery.md, {name}", "exec"), namespace)
        assert len(plt.get_fignums()) == bool(name), name
        assert all(ax.has_data() for ax in plt.gcf().axes) or not name
        plt.close("all")


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_a_page_in_the_reference(reference):
    """By the object: `ppl_vae.load` is another than `ppl_vae.data.load`."""
    shown = []
    for path, text in reference.texts().items():
        if "/" in path:
            module, kind, name = re.search(r"currentmodule:: (\S+)\n\n.. auto(class|function):: (\w+)\n", text).groups()
            shown.append(getattr(import_module(module), name))
            assert inspect.isclass(shown[-1]) == (kind == "class")
    public = reference.public()
    assert {"load", "Refined", "VAE", "fit", "VampPrior"} <= set(public)
    assert not [name for name, value in public.items() if not any(value is each for each in shown)]
    assert len(shown) == len({id(each) for each in shown})


def test_the_page_of_a_class_has_its_own_methods(reference):
    texts = reference.texts()
    vae, vamp = texts["ppl_vae/ppl_vae.VAE.rst"], texts["ppl_vae.priors/ppl_vae.priors.VampPrior.rst"]
    assert {"model", "guide", "export", "sample", "encode"} <= set(re.findall(r"automethod:: VAE\.(\w+)", vae))
    assert "automethod:: Run.push" in texts["ppl_vae/ppl_vae.Run.rst"]
    assert "automethod:: VampPrior.given" in vamp
    assert ":py:obj:`ppl_vae.Conditional.formula`" in vamp
    assert not re.search(r"\.(state_dict|add_module|cuda|set_params)\b", "".join(texts.values()))
