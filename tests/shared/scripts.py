"""Scripts of `experiments`, run as a reader would run them, with tiny settings on embedded data."""

import json
import runpy
import shlex
import sys
from pathlib import Path

import forked

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
sys.path.append(str(EXPERIMENTS))  # where Python looks for what they share when it runs one


def found_by(script, words, monkeypatch, capsys):
    """What a script wrote to out.json, if anything, and what it printed."""
    words = [str(script), *shlex.split(words)]
    if "os.fork" in script.read_text():  # other tests' threads would not live on in the children
        printed = forked.run(*words)
    else:
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(script), run_name="__main__")
        printed = capsys.readouterr().out
    out = Path("out.json")
    return json.loads(out.read_text()) if out.exists() else None, printed
