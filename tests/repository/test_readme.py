import inspect
import re
from pathlib import Path

import pytest

import ppl_vae
from ppl_vae import data, likelihoods, posteriors, priors, training
from ppl_vae.diagnostics import DIAGNOSTICS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def few(monkeypatch):
    """Fewer data and epochs than the reader's, in whatever is trained."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda *args, **kwargs: load(*args, **kwargs).take(100, 40, 40))
    fit = training.fit
    for module in (ppl_vae, training):
        monkeypatch.setattr(module, "fit", lambda *args, **how: fit(*args, **how | {"epochs": 3}))


@pytest.mark.usefixtures("few")
def test_the_snippets_run_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(snippet, "README.md", "exec"), namespace)
    shown = capsys.readouterr().out
    assert shown.startswith("p(x, z) = StandardNormal(z) Bernoulli(x | z)\nq(z | x) = DiagonalNormal\n")
    assert namespace["result"].methods in shown


def test_it_is_short():
    assert len(README.splitlines()) <= 120


def test_the_first_page_of_the_site_has_its_figure_and_its_statements():
    page = (ROOT / "docs" / "index.md").read_text()
    markers = re.findall(r':start-after: "(.+)"\n:end-before: "(.+)"\n', page)
    assert len(markers) == page.count("{include} ../README.md") == 2
    shown = [README.partition(start)[2].partition(end) for start, end in markers]
    assert all(text and found for text, found, _ in shown)
    assert "](experiments/results/where_q_fails.png)" in shown[0][0]
    assert "```python\nimport ppl_vae\n" in shown[1][0]


def test_its_files_exist():
    for path in re.findall(r"`(experiments/[\w./]+)`|\((experiments/[\w./]+)\)", README):
        assert (ROOT / (path[0] or path[1])).exists(), path


def test_the_table_of_components_names_them_all():
    page = (ROOT / "docs" / "parts.md").read_text()
    table = [row.split("|")[1:4] for row in page.splitlines() if row.startswith("| `")]
    rows = table[: next(i for i, row in enumerate(table) if "`CodePrior`" in row[0]) + 1]
    for column, module in enumerate((priors, likelihoods, posteriors)):
        named = {name.rpartition(".")[2] for row in rows for name in re.findall(r"`([\w.]+)`", row[column])}
        leaves = {name for name in module.__all__ if not inspect.isabstract(getattr(module, name))}
        assert leaves <= named | {"ConditionalNormal"}, module.__name__  # which only hierarchies need
        assert named <= leaves, module.__name__


def test_the_table_of_diagnostics_is_theirs():
    page = (ROOT / "docs" / "diagnosis.md").read_text().splitlines()
    for one in DIAGNOSTICS:
        if one.question:
            assert f"| {one.question} | {one.answers} | {one.reading} |" in page
