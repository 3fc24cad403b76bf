"""The command line: `ppl-vae train | evaluate | diagnose | sample | compare | demo`."""

from ppl_vae.cli.main import main

__all__ = ["main"]
