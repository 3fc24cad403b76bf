"""The suite where nothing should change its verdict: other processors, threads, dtypes, seeds and orders.

    python tests/nightly.py [NAME ...] [-- PYTEST OPTIONS]

A name chooses one of the variants below; without one all are run. Seeds are shifted by `PPL_VAE_TEST_SEED` and the
default dtype set by `PPL_VAE_TEST_DTYPE`, which `conftest.py` reads.
"""

import os
import subprocess
import sys
import time

ONE = {"OMP_NUM_THREADS": "1"}
PARALLEL = ["-n", "auto"]
VARIANTS = {
    "own": (ONE, PARALLEL),
    "default": (ONE | {"ATEN_CPU_CAPABILITY": "default"}, PARALLEL),
    "avx2": (ONE | {"ATEN_CPU_CAPABILITY": "avx2"}, PARALLEL),
    "mkl": (ONE | {"MKL_CBWR": "COMPATIBLE"}, PARALLEL),
    "threads": ({"OMP_NUM_THREADS": "2", "PPL_VAE_TEST_THREADS": "2"}, []),
    "float64": (ONE | {"PPL_VAE_TEST_DTYPE": "float64"}, [*PARALLEL, "tests"]),
    **{f"seed{n}": (ONE | {"PPL_VAE_TEST_SEED": str(n)}, [*PARALLEL, "tests"]) for n in (1, 2, 3)},  # no doctests
    "order": (ONE, [*PARALLEL, "-p", "randomly"]),
}


def main() -> int:
    """Run the variants; 0 where all pass."""
    words, _, options = " ".join(sys.argv[1:]).partition("--")
    failed = []
    for name in words.split() or VARIANTS:
        environment, arguments = VARIANTS[name]
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", *arguments, *options.split()]
        status = subprocess.run(command, env=os.environ | environment).returncode
        print(f"{name}: {'failed' if status else 'passed'} in {time.monotonic() - start:.0f} s", flush=True)
        failed += [name] * bool(status)
    print("nightly:", f"{', '.join(failed)} failed" if failed else "all variants passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
