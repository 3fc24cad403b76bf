"""A model card: what a run is, in words and numbers, from the files of its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppl_vae.checksums import has_weights, unsealed
from ppl_vae.files import read_bytes

__all__ = ["card"]

_HEAD = """---
library_name: ppl_vae
tags:
- variational-autoencoder
- pyro
---

"""


def card(folder: Path, config: Mapping[str, Any], epochs: int, name: str) -> str:
    """Markdown: formula, data with their checksum, NLL with its error, and the verdict, as far as they are known.

    Parameters
    ----------
    folder
        The run folder, in which `evaluation.json` and `diagnosis.md` are looked for.
    config
        Its configuration.
    epochs
        Number of epochs trained.
    name
        What `load` is called with.
    """
    data = (config.get("data") or [None])[0] or {}
    formula = "\n".join(config["formula"])
    shown = f"{data.get('name', 'not known')}, SHA-256 of the training data `{data.get('checksum', 'not known')}`"
    lines = [f"# {name.rpartition('/')[2]}", "", "```text", formula, "```", "", f"* Data: {shown}"]
    lines += [f"* Training: {epochs} epochs, with {_versions(config)}", *_numbers(folder / "evaluation.json"), ""]
    lines += [_verdict(folder / "diagnosis.md"), "", "```python", "import ppl_vae", ""]
    lines += [
        f'run = ppl_vae.load("{name}")  # executes nothing that it downloads',
        "x = run.vae.sample(16)",
        "```",
        "",
    ]
    return _HEAD + "\n".join(lines)


def _versions(config: Mapping[str, Any]) -> str:
    versions = config.get("versions", {})
    return ", ".join(
        f"{package} {versions[package]}" for package in ("ppl_vae", "torch", "pyro-ppl") if package in versions
    )


def _numbers(path: Path) -> list[str]:
    """NLL, bits and what is known of the error, where the run was evaluated."""
    if not path.is_file():
        return ["* NLL: not evaluated"]
    content, _ = unsealed(path, "evaluate the run again", most=2**30)
    if not has_weights(path.parent, content.get("weights")):
        return ["* NLL: not evaluated since it was trained further"]
    summary = content["summary"]
    if "nll" not in summary:
        return ["* NLL: none, as q is a point mass"]
    units = {"nll": "nats per datum", "bits_per_dim": "bits per dimension"}
    told = [f"{_of(summary[n])} {unit}" for n, unit in units.items() if n in summary]
    number = len(content["per_datum"]["obs"])
    lines = [f"* NLL: {' = '.join(told)}, the mean over {number} data, by {content['num_samples']} draws from q each"]
    lines += [f"* Data of the evaluation: SHA-256 `{content['data']['checksum']}`"]
    share = content.get("unreliable")
    if isinstance(share, float) and math.isfinite(share):
        lines += [f"* log p(x) is not to be believed for {share:.1%} of the data: there it may be too low"]
    return lines


def _of(number: Mapping[str, float | None]) -> str:
    mean, se = (number[key] for key in ("mean", "se"))
    return "not known" if mean is None else f"{float(mean):.3f}" + ("" if se is None else f" ± {float(se):.3f}")


def _verdict(path: Path) -> str:
    """The paragraph of a diagnosis that says what was found against q."""
    found = read_bytes(path).decode().splitlines() if path.is_file() else []
    said = next((line for line in found if line.startswith("**Verdict.**")), "")
    return said or "**Verdict.** None: q(z | x) was not diagnosed."
