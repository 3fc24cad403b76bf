"""Programs run in processes of their own, forked from one that has imported the libraries and has run nothing.

They find what a new interpreter finds, but do not wait for seconds of imports. The tests' own process cannot be forked:
it has threads, whose locks its children would wait for.
"""

import atexit
import functools
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

LIBRARIES = ["pyro", "arviz", "h5netcdf", "matplotlib.pyplot", "pandas", "sklearn.datasets", "xarray"]
LIBRARIES += ["ppl_vae.cli.main", "ppl_vae.diagnostics", "ppl_vae.plots"]
LIBRARIES += ["torch._dynamo", "ppl_vae.training"]  # what the first optimizer of a process imports, in seconds


@dataclass
class Started:
    """A process that was started, and the folder of what it prints."""

    pid: int
    folder: tempfile.TemporaryDirectory

    def ended(self) -> tuple[int, str, str]:
        """Its exit status, minus the signal that killed it, and what it printed to stdout and stderr."""
        status = _asked({"ended": self.pid})
        printed = [Path(self.folder.name, name).read_text() for name in ("stdout", "stderr")]
        self.folder.cleanup()
        return status, *printed


def start(*words, **environment: str) -> Started:
    """Start what `python *words` would: a file or `-c` and a program, and its arguments."""
    folder = tempfile.TemporaryDirectory()
    request = {"words": [str(w) for w in words], "environment": {**os.environ, **environment}, "folder": folder.name}
    return Started(_asked({**request, "cwd": os.getcwd()}), folder)


def run(*words, **environment: str) -> str:
    """What it prints; it may not fail."""
    status, out, err = start(*words, **environment).ended()
    assert status == 0, err
    return out


@functools.cache
def _server() -> subprocess.Popen:
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)  # it ends when nobody can ask any more
    return server


def _asked(request):
    server = _server()
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


def _serve() -> None:
    sys.path.append(sys.path.pop(0))  # a program finds the files beside it first
    torch = import_module("torch")
    threads = torch.get_num_threads()
    for library in LIBRARIES:
        import_module(library)
    torch.set_num_threads(threads)  # importing numba sets them to all cores
    for line in sys.stdin:
        request = json.loads(line)
        if "ended" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["ended"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _execute(**request)
        print(json.dumps(answer), flush=True)


def _execute(words, environment, folder, cwd) -> None:
    """The child's part, which ends with it."""
    status = 1
    try:
        for number, name in enumerate(["stdin", "stdout", "stderr"]):
            file = os.open(os.devnull if name == "stdin" else f"{folder}/{name}", os.O_RDWR | os.O_CREAT)
            os.dup2(file, number)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        program, sys.argv = words[0], list(words)
        if program == "-c":
            sys.argv = ["-c", *words[2:]]
            sys.path.insert(0, "")
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.path.insert(0, str(Path(program).resolve().parent))
            runpy.run_path(program, run_name="__main__")
        status = 0
    except SystemExit as end:
        print(end.code if isinstance(end.code, str) else "", end="", file=sys.stderr)
        status = end.code or 0 if isinstance(end.code, int | None) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
