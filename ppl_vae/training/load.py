"""Load a run: its best weights, history and configuration."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppl_vae.arguments import Seed, checked
from ppl_vae.calls import verb
from ppl_vae.checksums import ADVICE, changed
from ppl_vae.data.prepare import prepared
from ppl_vae.domain import Domain
from ppl_vae.files import interpreted, no_run
from ppl_vae.libraries import pd
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split
from ppl_vae.training.device import chosen_device
from ppl_vae.training.hub import PREFIX, bundled, fetched, pushed
from ppl_vae.training.run_folder import RunFolder, folder_path
from ppl_vae.training.weights import check_finite, load_weights
from ppl_vae.vae.build import rebuild
from ppl_vae.vae.formula import formula_of
from ppl_vae.vae.vae import VAE

__all__ = ["Run", "load"]


@checked
@dataclass(frozen=True)
class Run:
    """A training read back from its run folder.

    Attributes
    ----------
    vae
        With its best weights, in eval mode.
    history
        One row an epoch; see `fit`.
    config
        What the training was called with, of which data, with which versions.
    path
        The folder.
    """

    vae: Modelled
    history: pd.DataFrame
    config: dict[str, Any]
    path: Path

    def __repr__(self) -> str:
        kept = formula_of(self.vae).replace("\n", "; ")
        return f"Run({str(self.path)!r}, {len(self.history)} epochs: {kept})"

    @checked
    def prepare(
        self, raw: Any, *, y: Any = None, context: Any = None, domain: Domain | None = None, seed: Seed = 0
    ) -> Split:
        """New data as those that the training was on: every step, with the numbers of the training data.

        Columns, categories, and labels and contexts are those of the training, one by one; `Data.take` and `Data.hide`,
        which choose among data, are left out.

        Parameters
        ----------
        raw
            A frame for data of a frame or table, else an array (n, *x_shape); NaN is a missing value.
        y
            Labels (n,), where the training was conditioned on labels that no column of the frame or the cells holds.
        context
            For arrays: an array (n, ...), or a tuple of several. Contexts of a frame and of cells are columns of it.
        domain
            The values of `raw`, where they are to be binarized, are not in [0, 1], and have another number of grey
            levels than those of the training.
        seed
            Of what is drawn at random: binarization and dequantization.

        Returns
        -------
        Split
            For `VAE.encode`, `evaluate` and the diagnostics.

        Raises
        ------
        ValueError
            For categories that the training data do not have, and names them; for other columns, labels or contexts;
            for values outside the domain; for labels, contexts, arrays by other names and a `domain` that would not be
            used; and for a run of data that were not in memory, or of a program not of `build`.
        """
        recipe, source = self.config["recipe"], self.config["data"][0] or {}
        if recipe is None or "transforms" not in source:
            raise ValueError(
                "prepare expects a run of a VAE that build made, on data of ppl_vae.data, got another; prepare the "
                "data as you did before the training"
            )
        return prepared(source, recipe, raw, y=y, context=context, raw_domain=domain, seed=seed)

    @checked
    def bundle(self, folder: str | Path, name: str | None = None) -> Path:
        """Copy the run to an empty folder with a model card, `README.md`, as `push` uploads it; `load` reads it.

        The card prints the formula, the data with their checksum, NLL and its error, and the verdict, as far as
        `ppl-vae evaluate` and `ppl-vae diagnose` wrote them. Of paths only the names of the files are kept.

        Parameters
        ----------
        folder
            Where to copy it; made if it is not there.
        name
            What the card says `load` is called with; the folder by default.

        Raises
        ------
        ValueError
            For a folder that holds something, and for a run whose files were changed.
        """
        return bundled(self.path, folder_path(folder, "bundle"), name or str(folder))

    @checked
    def push(self, repo: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload what `bundle` makes to a repository of the Hugging Face hub, which is made if it is not there.

        Parameters
        ----------
        repo
            ``"owner/name"``; `load` reads it as ``"hub:owner/name"``.
        private
            Whether a new repository is private.
        token
            Of the hub; by default that of `hf auth login`.

        Returns
        -------
        str
            Address of the repository.

        Raises
        ------
        ImportError
            Without huggingface_hub: `pip install 'ppl_vae[hub]'`.
        ValueError
            For another repository than owner/name, and for a run whose files were changed.
        """
        if not _REPOSITORY.fullmatch(repo):
            raise ValueError(f"push expects a repository as 'owner/name', got {repo!r}; name one of yours")
        return pushed(self.path, repo, private=private, token=token)


_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@verb
def load(run: str | Path, classes: Sequence[type] = (), *, vae: Modelled | None = None, device: str = "cpu") -> Run:
    """Rebuild a run from its folder. Executes nothing that the folder holds.

    Parameters
    ----------
    run
        Folder that `fit` wrote; or ``"hub:owner/name"``, what `Run.push` uploaded, of which tensors and text alone are
        downloaded. ``"hub:owner/name@revision"`` is a certain version.
    classes
        Classes of your own that the run's VAE is made of.
    vae
        A VAE or Program of the same structure to put the weights into, for one that `build` did not make.
    device
        Where the weights go: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    Run

    Raises
    ------
    FileNotFoundError
        If the folder holds no run, or only a part of one; if the hub has no such repository.
    ImportError
        For the hub without huggingface_hub: `pip install 'ppl_vae[hub]'`.
    TypeError
        For a run that is no path.
    ValueError
        For a device that is not there; if the run names a class that is neither one of `ppl_vae` nor among `classes`,
        was not made by `build`, or if one of its files was changed, damaged, or is too large or no regular file.
    """
    if isinstance(run, str) and run.startswith(PREFIX):
        run = fetched(run)
    folder, target = RunFolder(folder_path(run, "load")), chosen_device(device)
    if not folder.exists():
        raise no_run(folder.path)
    with interpreted(folder.path, f"{ADVICE}; or give the classes and the vae= that it was trained with"):
        config, best, rows = _read(folder)
        loaded: Modelled = _made(config, best, classes) if vae is None else vae
        check_finite(loaded, best, folder.path)
        load_weights(loaded, best)
        # no rows, if it was killed in its first epoch
        history = pd.DataFrame(rows, columns=None if rows else ["epoch"]).set_index("epoch")
    if other := changed(folder.path):
        warnings.warn(
            f"{', '.join(other)} in {str(folder.path)!r} changed since ppl_vae wrote it (SHA-256 differs); do not rely "
            "on it: write it again by `ppl-vae diagnose`, or move what is yours to another folder",
            stacklevel=2,
        )
    return Run(loaded.to(target).eval(), history, config, folder.path)


def _read(folder: RunFolder, tries: int = 10) -> tuple[dict[str, Any], dict[str, Tensor], list[dict[str, float]]]:
    """Configuration, best weights and history of one checkpoint, all as they were written.

    A training that writes at the same time may replace them; then they are read again.
    """
    before = folder.read()
    try:
        folder.verify()
        return folder.config(), folder.tensors("best"), folder.history()
    except (FileNotFoundError, ValueError):
        if tries == 0 or folder.read() == before:
            raise
        return _read(folder, tries - 1)


def _made(config: dict[str, Any], best: dict[str, Tensor], classes: Sequence[type]) -> VAE:
    """A VAE of the recipe, in the precision of its weights."""
    if config["recipe"] is None:
        raise ValueError(
            "load expects a VAE that build made of classes and plain arguments, got one that it cannot "
            "describe; make it again in code and pass vae="
        )
    with torch.random.fork_rng(devices=[]):
        vae = rebuild(config["recipe"], classes)
    return vae.to(next(t.dtype for t in best.values() if t.is_floating_point()))
