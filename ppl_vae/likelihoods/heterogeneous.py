"""The likelihood of a table whose columns are of different kinds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.conditional import Net
from ppl_vae.distributions import ByColumn
from ppl_vae.domain import Domain
from ppl_vae.factories import Factory, made_by, name_of, settings_of
from ppl_vae.likelihoods.binary import Bernoulli, ContinuousBernoulli
from ppl_vae.likelihoods.counts import NegativeBinomial
from ppl_vae.likelihoods.gaussian import Gaussian
from ppl_vae.likelihoods.levels import Categorical, OrderedLogistic
from ppl_vae.likelihoods.likelihood import Likelihood, Rowwise, Shape, kinds_of
from ppl_vae.likelihoods.positive import LogNormal
from ppl_vae.nets import MLP
from ppl_vae.support import unwrapped

__all__ = ["Heterogeneous"]

_USUAL: dict[str, Factory] = {
    "real": partial(Gaussian, scale="elementwise"),
    "binary": Bernoulli,
    "categories": Categorical,
    "levels": OrderedLogistic,
    "positive": partial(LogNormal, scale="elementwise"),
    "counts": NegativeBinomial,
    "unit": ContinuousBernoulli,
}
"""The likelihood of a column by its kind."""


class _Group(NamedTuple):
    """Columns of one domain and likelihood: which, of how many levels, and whether the encoder sees them one-hot."""

    columns: tuple[int, ...]
    levels: int | None
    one_hot: bool


@checked
class Heterogeneous(Likelihood):
    """p(x | z) = prod_j p_j(x_j | z): each column of a table has a likelihood of its own, all of them one decoder.

    The columns are the last dimension of x. Columns of one domain and likelihood form a group, whose parameters are
    neighbours in the output of the decoder. log p(x) is the log of a density in some columns and of a mass in others:
    only results that agree in these can be compared.

    The encoder sees each column as its likelihood standardizes it, and categories one-hot, (*leading, *seen_shape) with
    the columns in the order of the groups.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    domain
        The domains of the columns.
    columns
        Likelihoods, classes or partials of such, by the name of a column, or by a kind of domain for all of its
        columns; the name goes first, and a column named as a kind is not the kind. Others get the usual one of their
        kind: Gaussian and LogNormal with a scale for each column, Bernoulli, Categorical, OrderedLogistic,
        NegativeBinomial, ContinuousBernoulli.
    names
        Names of the columns; ``"0"``, ``"1"``, ... if none are given.
    context, site
        See `Likelihood`.

    Raises
    ------
    ValueError
        For a name or kind that no column has, names that are not as many as the columns or not different, a likelihood
        that is no distribution on its column's domain, and a kind without a usual one.

    References
    ----------
    Nazabal, Olmos, Ghahramani and Valera 2020, arXiv:1807.03653 (HI-VAE).

    Examples
    --------
    >>> table = Domain(("real", "categories", "binary"), (None, 3, None))
    >>> Heterogeneous(2, (3,), domain=table, names=("age", "colour", "smokes")).settings()
    'Gaussian: age; Categorical: colour; Bernoulli: smokes'
    """

    kinds = ("real", "binary", "categories", "levels", "counts", "unit", "positive")
    base_measure: Literal["mass", "density", "mixed"] = "mixed"
    sees_context = True

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        domain: Domain = Domain("real"),  # noqa: B008
        columns: Mapping[str, Factory] | None = None,
        names: Sequence[str] | None = None,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        num = x_shape[-1]
        self.names = tuple(map(str, range(num))) if names is None else tuple(names)
        each = domain.columns(num)
        chosen = [_chosen(name, one, self.names, columns or {}) for name, one in zip(self.names, each, strict=False)]
        _check_names(self.names, num, domain, columns or {})
        keys = [
            (one.kinds[0], one.levels if one.discrete else None, _said(factory))
            for one, factory in zip(each, chosen, strict=True)
        ]
        discrete = {one.discrete for one in each}
        self.base_measure = "mixed" if len(discrete) > 1 else "mass" if True in discrete else "density"
        self.groups: list[_Group] = []
        leaves = []
        for key in dict.fromkeys(keys):
            which = tuple(j for j, own in enumerate(keys) if own == key)
            levels: Any = 2 if key[0] == "binary" else key[1]
            self.groups.append(_Group(which, levels, key[0] == "categories"))
            known = {"latent_dim": latent_dim, "x_shape": (*x_shape[:-1], len(which)), "net": _NoNet, "levels": levels}
            leaves.append(_leaf(chosen[which[0]], {**known, "context": context}))
        self.sees_x = any(leaf.sees_x for leaf in leaves)
        shapes = [leaf.param_shape(leaf.x_shape) for leaf in leaves]
        self._sizes = [math.prod(shape) for shape in shapes]
        super().__init__(latent_dim, x_shape, net, context=context, site=site)
        self.leaves = nn.ModuleList(leaves)
        self._shapes = shapes

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The parameters of all groups, flattened and joined."""
        return (sum(self._sizes),)

    def distribution(self, params: Tensor, *given: Any, **seen: Any) -> TorchDistribution:
        """From parameters (*leading, sum of those of all groups), z and the context."""
        return self.elementwise(params, *given, **seen)

    def elementwise(
        self, params: Tensor, *given: Any, x: Tensor | None = None, mask: Tensor | bool = True
    ) -> TorchDistribution:
        """The distribution of each element, from the parameters of all columns, z and the context."""
        parts, leaves = [], cast(Any, self.leaves)
        each = zip(leaves, params.split(self._sizes, -1), self._shapes, self.groups, strict=True)
        for leaf, part, shape, group in each:
            some = list(group.columns)
            seen = mask[..., some] if isinstance(mask, Tensor) else mask
            x_and_mask = {"x": None if x is None else x[..., some], "mask": seen}
            context = given if leaf.sees_context else ()
            parts.append(leaf.distribution(part.unflatten(-1, shape), *context, **(x_and_mask if leaf.sees_x else {})))
        return ByColumn(parts, [group.columns for group in self.groups])

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The start of each group of columns; 0 for a likelihood that does not say how."""
        found, leaves = [], cast(Any, self.leaves)
        for leaf, group, size in zip(leaves, self.groups, self._sizes, strict=True):
            params = leaf.start_from(x[..., list(group.columns)], mask[..., list(group.columns)], *context)
            found.append(x.new_zeros(size) if params is None else params.flatten())
        return torch.cat(found)

    def typical(self, fn: TorchDistribution) -> Tensor:
        """The means of the columns, of categories the most probable one."""
        each = unwrapped(fn)
        parts = zip(each.parts, self.groups, strict=True)
        return each.support.joined([p.logits.argmax(-1).to(p.logits) if g.one_hot else p.mean for p, g in parts])

    def standardize(self, x: Tensor) -> Tensor:
        """Columns as their likelihoods standardize them, categories one-hot, (*leading, *seen_shape)."""
        seen, leaves = [], cast(Any, self.leaves)
        for leaf, group in zip(leaves, self.groups, strict=True):
            some = x[..., list(group.columns)]
            seen.append(_one_hot(some, group.levels) if group.one_hot and group.levels else leaf.standardize(some))
        return torch.cat(seen, -1)

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """The columns, of categories one number for each level."""
        return (*self.x_shape[:-1], sum(len(g.columns) * (g.levels or 1 if g.one_hot else 1) for g in self.groups))

    def seen_mask(self, mask: Tensor) -> Tensor:
        """The mask of each column, repeated for the levels of categories."""
        masks = [(mask[..., list(g.columns)], g.levels or 1 if g.one_hot else 1) for g in self.groups]
        return torch.cat([m.repeat_interleave(times, -1) for m, times in masks], -1)

    def settings(self) -> str:
        """What `formula` adds: the likelihoods of the columns, of many their number."""
        named = [[self.names[j] for j in group.columns] for group in self.groups]
        return "; ".join(
            f"{type(leaf).__name__}: {', '.join(names) if len(names) <= 3 else f'{len(names)} columns'}"
            for leaf, names in zip(self.leaves, named, strict=True)
        )


class _NoNet(nn.Module):
    """The network of a column's likelihood, which gets its parameters from the decoder of all columns."""

    def __init__(self, in_shape: Any, out_shape: Any, context: Any = ()) -> None:
        super().__init__()


def _chosen(name: str, domain: Domain, names: Sequence[str], columns: Mapping[str, Factory]) -> Factory:
    """The likelihood of a column: by its name, or by its kind, unless a column has that name."""
    kind = domain.kinds[0]
    by_kind = None if kind in names else columns.get(kind)
    factory = columns.get(name) or by_kind or _USUAL.get(kind)
    if factory is None:
        raise ValueError(
            f"Heterogeneous expects a likelihood for column {name!r} of {kind} values, got none; give one: "
            f"columns={{{name!r}: ...}}, or columns={{{kind!r}: ...}} for all of this kind"
        )
    kinds = kinds_of(factory)
    if kind not in kinds:
        raise ValueError(
            f"Heterogeneous expects a likelihood of {kind} values for column {name!r}, got {name_of(factory)} of "
            f"{' or '.join(kinds) or 'none'}; choose another, or give the column another domain"
        )
    return factory


def _said(factory: Factory) -> str:
    """Of a class, and of a partial of it without settings, the same: a recipe that was read back has partials."""
    args = factory.args if isinstance(factory, partial) else ()
    return repr((made_by(factory), args, sorted((k, _said(v)) for k, v in settings_of(factory).items())))


def _check_names(names: Sequence[str], num: int, domain: Domain, columns: Mapping[str, Factory]) -> None:
    if len(names) != num or len(set(names)) != num:
        raise ValueError(
            f"Heterogeneous expects {num} different names, one for each column, got {len(names)} of which "
            f"{len(set(names))} differ; give one for each column"
        )
    if unknown := [key for key in columns if key not in (*names, *domain.kinds)]:
        raise ValueError(
            f"Heterogeneous expects likelihoods by the name or kind of a column, got {unknown}; the names are "
            f"{', '.join(names[:10])}{', ...' if num > 10 else ''}, the kinds {', '.join(domain.kinds)}"
        )


def _leaf(factory: Factory, known: Mapping[str, Any]) -> Likelihood:
    """A column's likelihood, made with those of the known arguments that its constructor names."""
    fixed = settings_of(factory)
    named = inspect.signature(factory).parameters
    given = {n: v for n, v in known.items() if n in named and n not in fixed and v is not None}
    made: Likelihood = factory(**given)
    if made.given_total or isinstance(made, Rowwise):
        raise ValueError(
            f"Heterogeneous expects likelihoods of single columns, got {type(made).__name__} of whole rows, or given "
            "their total; choose another, or another exposure"
        )
    return made


def _one_hot(x: Tensor, levels: int) -> Tensor:
    """Codes (*leading, columns) as (*leading, columns * levels)."""
    return (x.unsqueeze(-1) == torch.arange(levels, dtype=x.dtype, device=x.device)).to(x.dtype).flatten(-2)
