"""Every public name refuses bad inputs: in a sentence of its own, at once, and not in that of another library."""

import re
import signal
import traceback
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from bad_commands import COMMANDS
from bad_inputs import BAD
from good_calls import SHARED, public

import ppl_vae
from ppl_vae.cli.main import main

OWN = str(Path(ppl_vae.__file__).parent)
SECONDS = 10


@contextmanager
def limited():
    """A scope that ends after some seconds."""

    def stop(*_):
        pytest.fail(f"no end within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def _made():
    """What many calls share, and ArviZ, which takes seconds to import."""
    for make in SHARED:
        make()


@pytest.mark.parametrize("name", sorted({bad.name for bad in BAD}))
def test_a_bad_input_is_refused_in_a_sentence(name):
    """Each by the package itself, or by scikit-learn's checks of an estimator, with what came, and what to do."""
    tried = {bad.what: wrong(bad) for bad in BAD if bad.name == name}
    assert not {what: why for what, why in tried.items() if why}


def wrong(bad):
    """What is wrong with how a bad input is received; empty where it is refused as it should be."""
    torch.manual_seed(0)
    try:
        with limited():
            bad.call()
    except (ValueError, TypeError, FileNotFoundError) as error:
        said, raised_in = str(error), traceback.extract_tb(error.__traceback__)[-1].filename
        if "sklearn" in bad.name and "/site-packages/sklearn/" in raised_in:
            return ""
        if bad.result or not raised_in.startswith(OWN):
            return f"{error!r} of {raised_in}"
        parts = (r"\b(expect(s|ed|ing)?|needs?)\b", r"\b(got|has)\b", r"; |did you mean")
        return "" if all(re.search(part, said) for part in parts) else said
    except Exception as error:
        return repr(error)
    finally:
        plt.close("all")
    return "" if bad.result else "nothing was said"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_a_bad_command_line_is_refused_in_a_line(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with limited():
        try:
            status = main(command.argv)
        except SystemExit as left:
            status = left.code
    said = capsys.readouterr().err
    assert status in (1, 2), said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 3, said
    assert re.sub("[-_]", "", command.named) in re.sub("[-_]", "", said), said


def test_the_table_is_long_and_names_everything_public():
    assert len(BAD) >= 400
    tried = {id(public()[bad.name]) for bad in BAD}
    left = [name for name, value in public().items() if id(value) not in tried]
    assert not left, f"tests/shared/good_calls.py expects a call of every public name, got none of {left}; add one"
    verbs = {"train", "evaluate", "diagnose", "sample", "fit-prior", "compare", "report", "manifold", "demo"}
    verbs |= {"encode", "reconstruct", "impute", "score", "list", "export"}
    assert verbs <= {command.argv[0] for command in COMMANDS}
