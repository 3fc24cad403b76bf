"""Runs on the Hugging Face hub: a run folder with a model card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ppl_vae.checksums import sealed, unsealed
from ppl_vae.files import write_text
from ppl_vae.libraries import needing
from ppl_vae.training.card import card
from ppl_vae.training.run_folder import RunFolder

__all__ = ["PREFIX", "bundled", "fetched", "pushed"]

PREFIX = "hub:"
_KEPT = ("history.jsonl", "diagnosis.md", "figures/*.png")
_READ = ("*.json", "*.jsonl", "best-*.safetensors", "last-*.safetensors", "diagnosis.md")


def bundled(run: Path, target: Path, name: str) -> Path:
    """Copy what makes a run to an empty folder, and write its model card, `README.md`.

    These are the checkpoint, the history, `evaluation.json`, `diagnosis.md` and the figures; of paths on this machine
    only the names of the files are kept.

    Raises
    ------
    ValueError
        For a folder that holds something, and for a run whose files were changed.
    """
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"bundle expects an empty folder, got {str(target)!r} with files in it; name another one")
    source = RunFolder(run)
    source.verify()
    kept = [*source.read()["files"].values(), "checkpoint.json", *_KEPT]
    for found in (path for pattern in kept for path in run.glob(pattern)):
        copy = target / found.relative_to(run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, copy)
    config = _without_paths(source.config())
    RunFolder(target).write_config(config)
    evaluation = run / "evaluation.json"
    if evaluation.is_file():
        content, _ = unsealed(evaluation, "evaluate the run again", most=2**30)
        write_text(target / evaluation.name, sealed(_without_paths(content)))
    write_text(target / "README.md", card(target, config, len(source.history()), name))
    return target


def pushed(run: Path, repo: str, *, private: bool, token: str | None) -> str:
    """Upload what `bundled` makes of a run; the address of the repository."""
    api = _api(token)
    address = str(api.create_repo(repo, private=private, exist_ok=True))
    with TemporaryDirectory() as temporary:
        folder = bundled(run, Path(temporary) / "run", PREFIX + repo)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Add a run of ppl_vae")
    return address


def fetched(name: str) -> Path:
    """The folder in the hub's cache with the run ``hub:owner/name``, or ``hub:owner/name@revision``.

    Only tensors and text are downloaded.

    Raises
    ------
    FileNotFoundError
        Where there is no such repository, or none that may be read.
    """
    repo, _, revision = name.removeprefix(PREFIX).partition("@")
    api = _api(None)
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(api.snapshot_download(repo, revision=revision or None, allow_patterns=list(_READ)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        said = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(
            f"load expects hub:owner/name of a repository that you may read, got {name!r} ({said}); correct it, or log "
            "in by `hf auth login`"
        ) from error


def _api(token: str | None) -> Any:
    with needing("the hub", "huggingface_hub", "hub"):
        from huggingface_hub import HfApi
    return HfApi(token=token, library_name="ppl_vae")


def _without_paths(value: Any) -> Any:
    """Values of JSON with the name of a file in the place of its path."""
    if isinstance(value, Mapping):
        return {k: Path(v).name if k == "path" and isinstance(v, str) else _without_paths(v) for k, v in value.items()}
    return [_without_paths(v) for v in value] if isinstance(value, list) else value
