"""Pages of runs: one HTML file that opens from disk, without a network."""

from ppl_vae.pages.report import report

__all__ = ["report"]
