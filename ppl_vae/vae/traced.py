"""What can be had of any Pyro model and guide by running them: draws of x, q(z | x), and p(x | z)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split
from ppl_vae.tensors import LEAVE, as_tensor, check_finite

__all__ = ["decoded", "encoded", "sampled"]


def sampled(program: Modelled, n: int, context: Sequence[Any], like: Any, mean: bool) -> Tensor:
    """n draws of x from the model, or its mean; see `Program.sample`."""
    model, rows = poutine.uncondition(program.model), _rows(like, 0, n)
    trace = poutine.trace(model).get_trace(*_called_with(program, rows, context))
    infer = ((site, site.get("infer", {})) for site in trace.nodes.values())
    found = [site for site, how in infer if how.get("was_observed") and not how.get("_deterministic")]
    site = _one(found, "sample")
    value: Tensor = site["fn"].mean if mean else site["value"]
    if value.shape[:1] != rows.shape[:1] or value.numel() != rows.numel():
        raise ValueError(
            f"sample expects a model that observes x of shape {tuple(rows.shape)} as it came, got {tuple(value.shape)} "
            f"at {site['name']!r}; give obs=x, or read it from a trace: pyro.poutine.trace(program.model).get_trace(x)"
        )
    return value.reshape(rows.shape)


def encoded(program: Modelled, data: Split) -> TorchDistribution:
    """The distribution of the guide's one latent; see `Program.encode`."""
    args, mask = arguments(program, data.drawn())
    trace = poutine.trace(program.guide).get_trace(*args, **traces.model_kwargs(mask))
    sites = traces.latents(trace)
    if len(sites) != 1:
        raise TypeError(
            f"encode expects a guide with one latent site, got {sorted(sites)}; read them from a trace: "
            "pyro.poutine.trace(program.guide).get_trace(x)"
        )
    (site,) = sites.values()
    found: TorchDistribution = site["fn"]
    return found


def decoded(program: Modelled, z: Any, context: Sequence[Any], like: Any) -> TorchDistribution:
    """The distribution of the model's observed site given the latents, which must not depend on x.

    See `Program.decode`.
    """
    given = {name: as_tensor(name, v) for name, v in z.items()} if isinstance(z, Mapping) else as_tensor("z", z)
    first, *others = given.values() if isinstance(given, dict) else [given]
    for value in (first, *others):
        check_finite("z", value, fix=LEAVE)
    if len(as_tensor("like", like)) < 2:
        raise ValueError("decode expects two different data as like=, got one; give some of the training data")
    rows = [_rows(like, row, len(first)) for row in (0, 1)]
    one, other = (_observed(program, given, _called_with(program, x, context)) for x in rows)
    x = one["value"]
    if not torch.allclose(one["fn"].log_prob(x), other["fn"].log_prob(x), rtol=1e-4, atol=1e-4):
        raise ValueError(
            "decode expects a model whose observed site depends on z alone, got one that reads x besides, a total say; "
            "run it on the data: pyro.poutine.trace(pyro.poutine.condition(program.model, {'z': z})).get_trace(x)"
        )
    found: TorchDistribution = one["fn"]
    return found


def _observed(program: Modelled, given: Tensor | dict[str, Tensor], args: Sequence[Tensor]) -> dict[str, Any]:
    """The observed site of the model where its latents have these values."""
    sites = traces.latents(poutine.trace(program.model).get_trace(*args))
    values = given if isinstance(given, dict) else dict.fromkeys(sites, given)
    if set(values) != set(sites) or (len(sites) > 1 and not isinstance(given, dict)):
        raise ValueError(
            f"decode expects values of the latent sites {sorted(sites)}, got "
            f"{sorted(values) if isinstance(given, dict) else 'one tensor'}; give a dict by name"
        )
    for name, value in values.items():
        expected = sites[name]["value"].shape
        if value.shape != expected:
            raise ValueError(
                f"decode expects {name} of shape {tuple(expected)}, got {tuple(value.shape)}; give one row a datum"
            )
    values = {name: value.to(sites[name]["value"]) for name, value in values.items()}
    trace = poutine.trace(poutine.condition(program.model, values)).get_trace(*args)
    return _one([site for name, site in traces.observed(trace).items() if name not in values], "decode")


def _one(found: Sequence[Any], caller: str) -> dict[str, Any]:
    if len(found) != 1:
        raise ValueError(
            f"{caller} expects a model that observes one site, got {[site['name'] for site in found]}; read them from "
            "a trace: pyro.poutine.trace(program.model).get_trace(x)"
        )
    site: dict[str, Any] = found[0]
    return site


def _rows(like: Any, row: int, n: int) -> Tensor:
    """One row of some data, n times."""
    x = Split.of(like).drawn().x
    rows: Tensor = x[row : row + 1].expand(n, *x.shape[1:]).clone()
    return rows


def _called_with(program: Modelled, x: Tensor, context: Sequence[Any]) -> tuple[Tensor, ...]:
    args, _ = arguments(program, Split.of(x, *context))
    return args
