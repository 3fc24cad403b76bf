"""A table of many trainings: its cells from a YAML file, their processes, and what they found."""

from ppl_vae.cli.comparison.cell import Cell
from ppl_vae.cli.comparison.reading import Table, read
from ppl_vae.cli.comparison.runs import Run, run_all, runs_of

__all__ = ["Cell", "Run", "Table", "read", "run_all", "runs_of"]
