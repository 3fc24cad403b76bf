import io
import os
import random
import re
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import hypothesis
import matplotlib as mpl
import numpy as np
import pyro
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

import ppl_vae
from ppl_vae import isolation, split

build = import_module("ppl_vae.vae.build")  # the module, not the function of that name

mpl.use("Agg")
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")
THREADS = int(os.environ.get("PPL_VAE_TEST_THREADS", 1))  # tiny tensors, few cores
SHIFT = int(os.environ.get("PPL_VAE_TEST_SEED", 0))
DTYPE = getattr(torch, os.environ.get("PPL_VAE_TEST_DTYPE", "float32"))
torch.set_default_dtype(DTYPE)


class _ShiftedTorch:
    """Torch as a module of the package sees it, the seeds of its generator shifted."""

    default_generator = SimpleNamespace(manual_seed=lambda seed: torch.default_generator.manual_seed(seed + SHIFT))

    def __getattr__(self, name):
        return getattr(torch, name)


if not torch.accelerator.is_available():  # torch's own keeps a stack trace for one, in a millisecond or more a call
    torch.manual_seed = lambda seed: torch.default_generator.manual_seed(int(seed))

if SHIFT:  # other draws in every test: a verdict that a seed decides is none
    for module in (isolation, split, build):
        module.torch = _ShiftedTorch()
    torch.manual_seed, np.random.default_rng = (
        lambda seed=None, seeded=seeded: seeded(seed + SHIFT if isinstance(seed, int) else seed)
        for seeded in (torch.manual_seed, np.random.default_rng)
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal():
    """A terminal to redirect stderr to."""
    return Terminal()


@pytest.fixture(autouse=True)
def _fresh(request):
    """Each test begins with the same threads, precision and random numbers and leaves no parameters behind."""
    torch.set_default_dtype(torch.float32 if request.node.get_closest_marker("float32") else DTYPE)
    torch.set_num_threads(THREADS)  # importing numba sets those of OpenMP to all cores
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(SHIFT)
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()
    torch.set_default_dtype(DTYPE)


@pytest.fixture
def coarse(monkeypatch):
    """Pictures of few pixels, drawn once: `savefig` draws them before, to measure them, and so do layouts."""

    def saved(figure, path, **how):
        figure.set_layout_engine("none")
        figure.set_dpi(20)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        imsave(path, canvas.buffer_rgba())

    monkeypatch.setattr(Figure, "savefig", saved)


@pytest.fixture
def no_sbc(monkeypatch):
    """`diagnose` without its slowest part, which simulates 2,000 data: for tests of something else."""
    few = [one for one in ppl_vae.diagnostics.DIAGNOSTICS if one.name != "simulation_based_calibration"]
    monkeypatch.setattr(ppl_vae, "diagnose", partial(ppl_vae.diagnose, diagnostics=few))


def pytest_runtest_setup(item):
    if SHIFT and item.get_closest_marker("own_seeds"):
        pytest.skip("its other processes have seeds that are not shifted")


def pytest_make_parametrize_id(val):
    """No addresses: processes that share the tests must give them the same names."""
    text = repr(val)
    return re.sub(r" at 0x[0-9a-f]+", "", text) if " at 0x" in text else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where real data are required, a test that cannot read them fails."""
    report = yield
    if report.skipped and item.get_closest_marker("real_data") and os.environ.get("PPL_VAE_DATA"):
        report.outcome = "failed"
        report.longrepr = f"PPL_VAE_DATA is set, yet the test was skipped: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter):
    def count(outcome):
        return sum("real_data" in getattr(r, "keywords", ()) for r in terminalreporter.stats.get(outcome, []))

    passed, failed, skipped = map(count, ("passed", "failed", "skipped"))
    if passed + failed + skipped:
        failures = f"{failed} failed, " if failed else ""
        terminalreporter.write_line(f"real data: {failures}{passed} passed, {skipped} skipped")
