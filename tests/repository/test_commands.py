"""Every `ppl-vae` command of the pages and the README can be read by the command line's own parser; none is run."""

import re
import shlex
from pathlib import Path

import pytest

from ppl_vae.cli.commands import COMMANDS
from ppl_vae.cli.components import allow_imports
from ppl_vae.cli.main import parsed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "howto").glob("*.md"))]

UNREADABLE = {
    "ppl-vae train ... --run runs/a --resume": "the dots stand for the options of the first call",
}
"""What cannot be read, and why."""


def written(text):
    """The commands of a page: those of its code blocks for a shell, and those in its sentences."""
    blocks = re.findall(r"```(?:console|bash|sh)\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(span.split()) for span in re.findall(r"`(ppl-vae [^`]+)`", prose)]
    return dict.fromkeys(command for line in lines for command in commands(line))


def commands(line):
    """The calls of `ppl-vae` in a line, also as `-m ppl_vae`, without comments, pipes and files to write to."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    call = []
    for word in [*reader, "&&"]:
        if set(word) <= set("|&;<>"):
            start = next((i + 1 for i, each in enumerate(call) if each in ("ppl-vae", "ppl_vae")), None)
            if start is not None:
                yield shlex.join(["ppl-vae", *call[start:]])
            call = []
        else:
            call.append(word)


FOUND = {page: written(page.read_text()) for page in PAGES}


@pytest.mark.parametrize("page", [page for page in PAGES if FOUND[page]], ids=lambda page: page.stem)
def test_the_commands_can_be_read(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    allow_imports("ppl_vae", "pyro.infer")
    failed = [line for line in FOUND[page] if line not in UNREADABLE and status(*shlex.split(line)[1:]) != 0]
    assert not failed, capsys.readouterr().err


def status(name, *options):
    """The exit status of reading a command; 0 also for its name alone, and where it asks for the help."""
    if name not in COMMANDS:
        return 0 if name in ("--help", "--version") else 2
    if not options:
        return 0
    outline = COMMANDS[name].new_parser(outline=True)
    words = outline.numbers_named(options)
    try:
        outline.check(words)
        parsed(COMMANDS[name], words)
    except SystemExit as ended:
        return ended.code
    return 0


def test_commands_are_found_and_faults_are_seen(capsys):
    lines = {line for found in FOUND.values() for line in found}
    assert set(UNREADABLE) <= lines
    assert len(lines) > 50
    assert "ppl-vae fit-prior runs/ae --out runs/ae-prior" in lines  # after `&&`
    assert any(line.endswith("--likelihood.dispersion elementwise") for line in lines)  # on the second line of two
    assert list(commands("torchrun -m -- ppl_vae evaluate runs/a  # why")) == ["ppl-vae evaluate runs/a"]
    for wrong in ("reconstruct RUN new.npy", "evaluate RUN --compile", "train --prior Vamp", "trian"):
        assert status(*wrong.split()) == 2
    capsys.readouterr()
