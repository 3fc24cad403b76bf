"""Every page of `docs` whose first line says what a reader has: its Python runs, its files exist, its links lead."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page for page in DOCS.glob("*.md") if page.read_text().startswith("# I have"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.mark.float32
@pytest.mark.own_seeds
@each_page
def test_the_snippets_run_as_written(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    namespace: dict = {}
    for snippet in snippets:
        exec(compile(snippet, page.name, "exec"), namespace)
    assert snippets


@each_page
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text) + re.findall(r"`(experiments/[\w./]+)`", text):
        assert (DOCS / target).exists() or (DOCS.parent / target).exists(), target


def test_the_readme_names_every_page():
    readme = (DOCS.parent / "README.md").read_text()
    assert not [page.name for page in PAGES if f"docs/{page.name}" not in readme]
    assert not [path for path in re.findall(r"\((docs/[\w.]+)\)", readme) if not (DOCS.parent / path).exists()]
