"""Training, scores and diagnostics on a stand-in for a GPU: none mixes tensors of two devices."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from stand_in_verbs import MODELS, differences, verbs


@pytest.fixture(scope="module")
def process():
    """A process of its own, as torch cannot forget a device."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.float32
@pytest.mark.parametrize("name", MODELS)
def test_all_stay_on_their_device_with_the_numbers_of_the_cpu(name, process):
    found = process.submit(differences, name).result()
    assert {*found} == {"fit", *verbs(name)}
    assert {verb: gap for verb, gap in found.items() if not gap < 1e-2} == {}
