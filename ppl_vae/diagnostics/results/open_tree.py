"""ArviZ trees read back from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppl_vae.arguments import checked
from ppl_vae.checksums import changed
from ppl_vae.diagnostics.results import arviz_io
from ppl_vae.files import interpreted, regular

__all__ = ["open_tree"]


@checked
def open_tree(path: str | Path) -> Any:
    """Read a tree that `tree.to_netcdf(path)` wrote, with either ArviZ; in a run folder, its checksum is verified.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    InferenceData or DataTree
        With ArviZ 0.23 or 1.x, respectively.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such tree, or differs from the file that `ppl-vae diagnose` wrote there (SHA-256).
    """
    file = regular(Path(path))
    if file.name in changed(file.parent):
        raise ValueError(f"expected {str(path)!r} as it was written, got another content (SHA-256 differs); {_AGAIN}")
    try:
        with interpreted(file, _AGAIN):
            return arviz_io.open_tree(file)
    except ValueError as error:
        if _AGAIN in str(error):
            raise
        raise ValueError(f"expected a tree in {str(path)!r}, got something else ({error}); {_AGAIN}") from error


_AGAIN = "write it again: `ppl-vae diagnose RUN`, or tree.to_netcdf(path)"
