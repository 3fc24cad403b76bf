"""The workflows name what is there, on the versions that the package says it supports."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import ppl_vae

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
JOBS = {name: job for file in WORKFLOWS for name, job in yaml.safe_load(file.read_text())["jobs"].items()}
COMMANDS = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]


def test_every_target_and_file_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = [words[5:] for words in COMMANDS if words.startswith("make ")]
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
    for path in re.findall(r"[\w./-]+\.(?:py|txt)\b", " ".join(COMMANDS)):
        assert (ROOT / path).exists(), path


def test_the_site_is_built():
    assert {"run": "make docs"} in JOBS["docs"]["steps"]
    assert "--fail-on-warning" in (ROOT / "Makefile").read_text()


def test_the_oldest_python_is_tested():
    pythons = JOBS["pinned"]["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={pythons[0]}"


def test_the_lowest_versions_are_the_lower_bounds():
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["tables"]]
    bounds = [re.sub(r"\[.*?\]", "", re.match(r"[^,]+", each)[0]) for each in wanted]
    pins = (ROOT / ".github" / "constraints-lowest.txt").read_text().splitlines()[1:]
    assert pins == [bound.replace(">=", "==") for bound in bounds]


def test_every_extra_is_in_the_table():
    """With the libraries that it installs."""
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \|", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    table = {name: libraries for names, libraries in rows for name in re.findall(r"`(\w+)`", names)}
    extras = PROJECT["optional-dependencies"]
    assert set(table) == set(extras)
    for extra in set(extras) - {"test", "docs", "dev"}:
        assert all(re.match(r"[\w-]+", each)[0] in table[extra] for each in extras[extra]), extra


def test_one_version():
    assert PROJECT.get("version", ppl_vae.__version__) == ppl_vae.__version__


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_pins_lie_within_the_bounds(requirement):
    name, low = re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
    pinned = re.findall(rf"^{name}==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert all(version(pin) >= version(low) for pin in pinned)


def version(text):
    return tuple(map(int, text.split(".")))
