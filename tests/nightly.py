"""The suite where nothing should change its verdict: other processors, threads, dtypes, seeds and orders.

    python tests/nightly.py [NAME[+NAME ...] ...] [-- PYTEST OPTIONS AND PATHS]

Each word is one run of the suite under all the variants it names; `all` is every combination of prior, likelihood and
posterior, and of prior, posterior and objective, of which the suite takes fewer. Without a word all of `RUNS` are made,
which cover every variant; one that fails is narrowed down by naming its variants one by one. Seeds are shifted by
`PPL_VAE_TEST_SEED` and the default dtype set by `PPL_VAE_TEST_DTYPE`, which `conftest.py` reads.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ENVIRONMENT = {
    "own": {},
    "default": {"ATEN_CPU_CAPABILITY": "default"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "mkl": {"MKL_CBWR": "COMPATIBLE"},
    "threads": {
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",  # beside other jobs, threads that spin take many times as long
        "PPL_VAE_TEST_THREADS": "2",
        "PYTEST_XDIST_AUTO_NUM_WORKERS": "1",
    },
    "float64": {"PPL_VAE_TEST_DTYPE": "float64"},
    **{f"seed{n}": {"PPL_VAE_TEST_SEED": str(n)} for n in (1, 2, 3)},
    "order": {},
    "all": {"PPL_VAE_TEST_CASES": "all"},
}
NO_DOCTESTS = {"float64", "seed1", "seed2", "seed3"}  # they print numbers
RUNS = ["own+order+all", "default+mkl", "avx2+seed1", "threads+seed2+order", "float64+seed3"]


def main() -> int:
    """Make the runs; 0 where all pass."""
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    words, options, failed = given[:at], given[at + 1 :], []
    paths = any(Path(option.partition("::")[0]).exists() for option in options)
    for run in words or RUNS:
        names, environment = run.split("+"), os.environ | {"OMP_NUM_THREADS": "1"}
        for name in names:
            environment |= ENVIRONMENT[name]
        arguments = ["-p", "randomly"] if "order" in names else []
        arguments += ["tests"] if NO_DOCTESTS & {*names} and not paths else []
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", *arguments, *options]
        status = subprocess.run(command, env=environment).returncode
        print(f"{run}: {'failed' if status else 'passed'} in {time.monotonic() - start:.0f} s", flush=True)
        failed += [run] * bool(status)
    print("nightly:", f"{', '.join(failed)} failed" if failed else "all runs passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
