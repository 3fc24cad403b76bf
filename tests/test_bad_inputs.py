"""Every public name refuses bad inputs: in a sentence of its own, at once, and not in that of another library."""

import re
import signal
import traceback
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from bad_commands import COMMANDS
from bad_inputs import BAD
from good_calls import public

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


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


def _marked(bad, said):
    marks = [pytest.mark.xfail(reason=f"waits for {bad.waits}", strict=False)] if bad.waits else []
    return pytest.param(bad, id=said, marks=marks)


@pytest.mark.parametrize("bad", [_marked(b, f"{b.name}: {b.what}") for b in BAD])
def test_a_bad_input_is_refused_in_a_sentence(bad):
    """Raised by the package itself, or by scikit-learn's checks of an estimator; with what came, and what to do."""
    if bad.result:
        with limited():
            bad.call()
        return
    with limited(), pytest.raises((ValueError, TypeError, FileNotFoundError)) as refused:
        bad.call()
    frames = traceback.extract_tb(refused.value.__traceback__)
    if "sklearn" in bad.name and "/sklearn/" in frames[-1].filename and OWN not in frames[-1].filename:
        return
    assert frames[-1].filename.startswith(OWN), f"raised by {frames[-1].filename}: {refused.value}"
    said = str(refused.value)
    assert re.search(r"\bexpect(s|ed|ing)?\b", said), said
    assert re.search(r"\bgot\b", said), said
    assert re.search(r"; |did you mean", said), said


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            c, id=c.words, marks=[pytest.mark.xfail(reason=f"waits for {c.waits}", strict=False)] if c.waits else []
        )
        for c in COMMANDS
    ],
)
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
    assert not left, f"every public name expects an entry in tests/bad_inputs.py, got none for {left}; add bad calls"
    verbs = {"train", "evaluate", "diagnose", "sample", "fit-prior", "compare", "manifold", "demo"}
    assert verbs <= {command.argv[0] for command in COMMANDS}
