"""The notebooks of the story, in order: stored with outputs, and run as a reader would run them, with tiny settings.

Their settings are the assignments of the cell that is tagged "parameters". They run in one kernel, emptied between two
of them, so that the libraries are imported once.
"""

import re

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from scripts import EXPERIMENTS

STORY = sorted((EXPERIMENTS / "story").glob("*.ipynb"))
TINY = {
    "DATA": "digits",
    "TRAIN": 60,
    "TEST": 30,
    "EPOCHS": 1,
    "STEPS": 10,
    "FEW": 4,
    "NUM_SAMPLES": 60,
    "NUM_COMPONENTS": 8,
    "LATENT_DIM": 4,
    "SIMULATIONS": 60,
}
NAMES = [file.stem for file in STORY]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")  # of the progress bars that Pyro imports
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(tmp_path_factory.mktemp("story")))
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("file", STORY, ids=NAMES)
def test_it_runs(file, kernel):
    notebook = nbformat.read(file, as_version=4)
    settings = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(settings) == 1
    names = [name for name in re.findall(r"[A-Z_]+(?= ?[,=])", settings[0].source) if name in TINY]
    assert set(names) == set(re.findall(r"\b[A-Z_]{3,}\b", re.sub(r"#.*|\".*?\"", "", settings[0].source)))
    settings[0].source = "\n".join(f"{name} = {TINY[name]!r}" for name in names)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    client = NotebookClient(notebook, km=kernel, timeout=120)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"]


@pytest.mark.parametrize("file", STORY, ids=NAMES)
def test_it_is_stored_with_outputs(file):
    """All cells run once, in order, small enough to be read on a page, and nothing that only one machine would say."""
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    found = outputs(notebook)
    assert not [output for output in found if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in found) >= 2
    assert file.stat().st_size < 500_000
    texts = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in found]
    assert not [text for text in texts if re.search(r"/(home|root|Users|tmp|work)/|site-packages", text)]


def test_each_tells_its_place_and_leads_to_the_next():
    assert [int(name[:2]) for name in NAMES] == list(range(1, 11))
    for file, following in zip(STORY, [*STORY[1:], None], strict=True):
        cells = nbformat.read(file, as_version=4).cells
        assert cells[0].source.startswith(f"# {int(file.stem[:2])}. ")
        assert "## Summary" in cells[-1].source
        assert following is None or f"]({following.name})" in cells[-1].source


@pytest.mark.parametrize("file", STORY, ids=NAMES)
def test_its_links_lead_somewhere(file):
    for cell in nbformat.read(file, as_version=4).cells:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", cell.source):
            assert (file.parent / target).exists(), target


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]
