import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae
from ppl_vae import data
from ppl_vae.diagnostics import DIAGNOSTICS

QUICK = [one for one in DIAGNOSTICS if one.name in ("active_units", "hmc")]  # of which `hmc` is not run
SETTINGS = {"take": 24, "num_samples": 30, "seed": 0, "progress": False, "diagnostics": QUICK}


def people():
    """A table of several kinds of columns, one of them with gaps, and names that HTML would take for elements."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age <b>": rng.normal(40, 12, 80),
            "colour": rng.choice(["red", "</script><i>", "blue"], 80),
            "visits": rng.poisson(3, 80),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 80), "D"),
        }
    )
    frame.loc[:20, "age <b>"] = np.nan
    return data.from_frame(frame, seed=0)


def digits(**choice):
    return data.load("digits").binarize("threshold").take(60, 20, 30), {"latent_dim": 2, **choice}


KINDS = {
    "plane": lambda: digits(),
    "autoencoder": lambda: digits(prior=ppl_vae.Flat, posterior=ppl_vae.Point, latent_dim=3),
    "conditional": lambda: (digits()[0].condition_on_labels(), {"latent_dim": 3}),
    "hierarchical": lambda: digits(latent_dim=[2, 3]),
    "recurrent": lambda: (
        data.from_arrays(np.random.default_rng(0).normal(size=(60, 9)), seed=0).standardize(),
        {"latent_dim": 3, "decoder": ppl_vae.GRUDecoder, "likelihood": ppl_vae.Gaussian},
    ),
    "table": lambda: (people(), {"latent_dim": 3}),
    "untrained": lambda: digits(latent_dim=1),
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A small run of each kind, and the data it is judged on, made when they are asked for."""
    made = {}

    def run(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("runs") / kind
            given, choice = KINDS[kind]()
            vae = ppl_vae.build(given, seed=0, **choice)
            ppl_vae.fit(vae, given, epochs=2, seed=0, run=folder, progress=False)
            found = ppl_vae.load(folder)
            if kind == "untrained":
                object.__setattr__(found, "history", found.history[:0])
            made[kind] = found, given.test
        return made[kind]

    return run


@pytest.fixture(scope="session")
def page_of(runs, tmp_path_factory):
    """The page of runs of some kinds."""
    made = {}

    def page(*kinds):
        if kinds not in made:
            found = [runs(kind) for kind in kinds]
            path = tmp_path_factory.mktemp("pages") / f"{'-'.join(kinds)}.html"
            made[kinds] = ppl_vae.report([r for r, _ in found], path, data=[d for _, d in found], **SETTINGS)
        return made[kinds]

    return page


def chromium():
    """The browser and its driver, or why there are none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = {"browser": next(filter(None, map(shutil.which, names)), None), "driver": shutil.which("chromedriver")}
    if None in found.values():
        return f"the tests of pages expect Chromium and its driver, got {found}; apt-get install chromium-driver"
    return found


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium without a window. Where it is missing tests are skipped, and fail where CI is set."""
    found = chromium()
    if isinstance(found, str):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(found)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = found["browser"]
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for switch in f"{switches} disable-component-update disable-sync window-size=1100,900".split():
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found["driver"]))
    driver.set_script_timeout(120)  # a loaded machine
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
