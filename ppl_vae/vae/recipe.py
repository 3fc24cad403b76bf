"""The recipe of a VAE: its component classes and settings as JSON values, and back."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ppl_vae import corruptions, likelihoods, nets, posteriors, priors
from ppl_vae.arguments import for_json
from ppl_vae.distributions import zuko_flows
from ppl_vae.factories import Factory, made_by, settings_of
from ppl_vae.vae.data_spec import DataSpec

__all__ = ["COMPONENTS", "Levels", "entry", "parts_of", "plain", "recipe"]

Levels = Sequence[Factory]

_MODULES = {
    "prior": priors,
    "likelihood": likelihoods,
    "posterior": posteriors,
    "encoder": nets,
    "decoder": nets,
    "corruption": corruptions,
}
COMPONENTS: dict[str, dict[str, Any]] = {
    role: {name: getattr(module, name) for name in module.__all__} for role, module in _MODULES.items()
}
"""Every class a stored recipe may name, by its role in `build`: a prior and a likelihood may have the same name."""


def part(entry: Mapping[str, Any], role: str, classes: Sequence[type] = ()) -> Factory:
    """The class an entry of a recipe names, with its arguments.

    A name is first looked up among the classes of this role, then among all: an argument of a likelihood that names a
    class names a likelihood, if there is one of that name.

    Raises
    ------
    ValueError
        If it is neither one of `ppl_vae`, nor a flow of zuko, nor among `classes`.
    """
    args = {name: _given(value, role, classes) for name, value in entry["args"].items()}
    name, ours = entry["class"], entry.get("module", "ppl_vae").partition(".")[0] == "ppl_vae"
    known: dict[str, Any] = {c.__name__: c for c in classes}
    if entry.get("module") == "zuko" and name not in known:
        flows = zuko_flows("a recipe")
        known = {n: c for n, c in vars(flows).items() if inspect.isclass(c) and issubclass(c, flows.LazyDistribution)}
    if ours:
        known = {name: c for of_role in COMPONENTS.values() for name, c in of_role.items()} | COMPONENTS[role]
    if name not in known:
        raise ValueError(
            f"a recipe expects classes of ppl_vae or those in classes=, got {name!r}; "
            f"if you trust it, import it yourself and pass classes=[{str(name).rpartition('.')[2]}], "
            "or name its file with --import"
        )
    return partial(known[name], **args)


def _given(value: Any, role: str, classes: Sequence[type]) -> Any:
    """An argument: a class for an entry, and for a mapping of entries one of classes."""
    if _is_entry(value):
        return part(value, role, classes)
    return {k: _given(v, role, classes) for k, v in value.items()} if isinstance(value, Mapping) else value


def _is_entry(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"class", "module", "args"}


def parts_of(
    entries: Mapping[str, Any] | Sequence[Mapping[str, Any]], role: str, classes: Sequence[type] = ()
) -> Factory | Levels:
    """`part` of an entry, or of one for each level."""
    return [part(e, role, classes) for e in entries] if isinstance(entries, Sequence) else part(entries, role, classes)


def recipe(
    data: DataSpec,
    latent_dim: int | Sequence[int],
    mask_input: bool,
    context_to: Sequence[str],
    **parts: Factory | Levels | None,
) -> dict[str, Any] | None:
    """The arguments of `build` as JSON values; `None` if they cannot be expressed so."""
    said = {
        "x_shape": list(data.x_shape),
        "context": [list(shape) for shape in data.context_shapes],
        "domain": vars(data.domain) | {},
        "latent_dim": latent_dim,
        **{name: None if factory is None else entry(factory) for name, factory in parts.items()},
        **({"mask_input": True} if mask_input else {}),
        **({"context_to": list(context_to)} if len(context_to) < 3 else {}),
    }
    return plain(said)


def plain(said: dict[str, Any]) -> dict[str, Any] | None:
    """A recipe as JSON gives it back; `None` where it cannot hold it."""
    try:
        found: dict[str, Any] = json.loads(json.dumps(said, default=for_json))
    except TypeError:  # a lambda, or an argument that is no plain value
        return None
    return found


def entry(factory: Factory | Levels) -> Any:
    """A part of a recipe: a class by name, and its arguments; other values are unchanged. A list for levels."""
    if isinstance(factory, Sequence):
        return [entry(level) for level in factory]
    made_of = made_by(factory)
    args = {name: _said(value) for name, value in settings_of(factory).items()}
    if not inspect.isclass(made_of) or (isinstance(factory, partial) and factory.args):
        return factory
    return {"class": made_of.__name__, "module": made_of.__module__.partition(".")[0], "args": args}


def _said(value: Any) -> Any:
    """An argument as JSON holds it: classes, also in mappings, by name."""
    if isinstance(value, Mapping):
        return {k: _said(v) for k, v in value.items()}
    return entry(value) if callable(value) else value
