"""Every page of `docs`: its Python runs, its files exist, its links lead somewhere, and a reader can find it."""

import re
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WITH_CODE = [page for page in PAGES if "```python" in page.read_text()]


TRAINED = ["museum"]
"""Pages that assert what holds of a trained model alone."""


@pytest.fixture
def few(monkeypatch):
    """Fewer epochs than the reader's, in whatever is trained."""
    fit = import_module("ppl_vae.training.fit")  # the module, not the function of that name
    settings = fit.Settings
    monkeypatch.setattr(fit, "Settings", lambda epochs, *others: settings(min(epochs, 3), *others))


@pytest.mark.float32
@pytest.mark.own_seeds
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_snippets_run_as_written(page, tmp_path, monkeypatch, request):
    if page.stem not in TRAINED:
        request.getfixturevalue("few")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    namespace: dict = {}
    for snippet in snippets:
        exec(compile(snippet, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text) + re.findall(r"`(experiments/[\w./]+)`", text):
        assert (DOCS / target).exists() or (DOCS.parent / target).exists(), target


def test_every_page_is_found():
    readme, index = (DOCS.parent / "README.md").read_text(), (DOCS / "index.md").read_text().splitlines()
    assert not [page.name for page in PAGES if page.stem not in [*index, "index"]]
    first_lines = {page: page.read_text().partition("\n")[0] for page in PAGES}
    assert not [page for page, line in first_lines.items() if line.startswith("# I have") and page.name not in readme]
    assert not [path for path in re.findall(r"\((docs/[\w.]+)\)", readme) if not (DOCS.parent / path).exists()]
