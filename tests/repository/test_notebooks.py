"""The long notebooks of `experiments`, run as a reader would run them, with tiny settings on embedded data."""

import nbformat
import pytest
from nbclient import NotebookClient
from scripts import EXPERIMENTS

NOTEBOOKS = sorted(EXPERIMENTS.glob("*.ipynb"))
TINY_NOTEBOOK = {
    "PPL_VAE_NOTEBOOK_DATA": "digits",
    "PPL_VAE_EPOCHS": "1",
    "PPL_VAE_TRAIN": "60",
    "PPL_VAE_TEST": "30",
    "PPL_VAE_NUM_SAMPLES": "30",
    "PPL_VAE_RUNS": "runs",
    "PPL_VAE_SUBSET": "4",
    "PPL_VAE_NUM_STEPS": "50",
    "PPL_VAE_NUM_SIMULATIONS": "100",
    "PPL_VAE_NUM_TEMPERATURES": "5",
    "OMP_NUM_THREADS": "1",
}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_notebook_runs(file, tmp_path, monkeypatch):
    for name, value in TINY_NOTEBOOK.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(file, as_version=4)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    check_outputs(file, notebook)
    assert any("digits" in text for text in texts(notebook))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_notebook_is_stored_with_outputs(file):
    """All cells run once, in order, and nothing that only one machine or one day would say."""
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    check_outputs(file, notebook)
    assert file.stat().st_size < 1.5e6
    for text in texts(notebook):
        assert not any(sign in text for sign in ("/home/", "/root/", "/Users/", "/tmp/", "site-packages"))


IN_TABLES = {  # what is compared, and in how many tables
    "diagnose_mnist.ipynb": (("DiagonalNormal", "FullRankNormal", "IAF"), 6),
}


def check_outputs(file, notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 7
    names, tables = IN_TABLES[file.name]
    for name in names:
        assert sum(name in text for text in texts(notebook)) >= tables


def texts(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs]
