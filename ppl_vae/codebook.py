"""A codebook learned by exponential moving averages, and probability masses over its codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn
from torch.distributions import register_kl

from ppl_vae.precision import in_float64

__all__ = ["AutoregressiveCodes", "Code", "CodeMass", "Codebook", "Quantizes", "Usage"]

Shape = Sequence[int]

DEAD = 0.1
"""A code used less than this fraction of 1 / K is reset."""


class Usage(nn.Module):
    """How often each code of each group is used.

    Parameters
    ----------
    groups
        Number of parts of a latent that share the codes; their use is counted separately.
    num_codes
        Number of codes K.
    """

    used: Tensor

    def __init__(self, groups: int, num_codes: int) -> None:
        super().__init__()
        self.register_buffer("used", torch.zeros(groups, num_codes, dtype=torch.long))

    def count(self, index: Tensor) -> None:
        """Count the use of indices (*leading, groups)."""
        groups, num_codes = self.used.shape
        places = (index + num_codes * torch.arange(groups, device=index.device)).flatten()
        # no bincount, whose shape depends on values: a graph has none
        self.used = self.used.flatten().scatter_add(0, places, torch.ones_like(places)).view(groups, num_codes)

    def perplexity(self) -> float:
        """exp of the entropy of the codes' relative frequencies, the mean over groups; NaN if none was counted.

        Between 1 (one code for all data) and K (all codes equally often).
        """
        used = in_float64(self.used)
        p = used / used.sum(-1, keepdim=True)
        return torch.exp(torch.special.entr(p).sum(-1)).mean().item()

    def count_anew(self) -> None:
        """Reset the counts of `perplexity`."""
        self.used = torch.zeros_like(self.used)


class Codebook(Usage):
    """K vectors, each the exponential moving average of the encodings nearest to it.

    The first update sets all codes, and later updates rarely used codes, to random encodings of the batch. This does
    not exclude a collapse to a few codes; see `perplexity`. Uses torch's global generator.

    Parameters
    ----------
    num_codes
        Number of codes K.
    dim
        Dimension of a code.
    decay
        Weight of the old averages in an update, in [0, 1).
    groups
        Number of parts of a latent that share the codes; their use is counted separately.

    Raises
    ------
    ValueError
        For no codes, or a decay outside [0, 1).

    References
    ----------
    van den Oord et al. 2017, arXiv:1711.00937, appendix A.1.
    """

    codes: Tensor
    counts: Tensor

    def __init__(self, num_codes: int, dim: int, decay: float, groups: int = 1) -> None:
        super().__init__(groups, num_codes)
        if num_codes < 1 or not 0 <= decay < 1:
            raise ValueError(
                f"a codebook expects one code or more and a decay in [0, 1), got num_codes={num_codes} and "
                f"decay={decay}; give num_codes=64 and decay=0.99, say"
            )
        self.decay = decay
        self.register_buffer("codes", torch.randn(num_codes, dim))
        self.register_buffer("counts", torch.zeros(num_codes))  # encodings per batch, a moving average

    def nearest(self, encodings: Tensor) -> Tensor:
        """Indices of the codes nearest to encodings (*leading, dim), the first of ties, (*leading,).

        Summed coordinate by coordinate, so that the result is bit-identical on all processors.
        """
        each = zip(encodings.unsqueeze(-2).unbind(-1), self.codes.unbind(-1), strict=True)
        distance = sum((e - c).square() for e, c in each)  # (*leading, K), no (*leading, K, dim) array
        return torch.as_tensor(distance).argmin(-1)

    @torch.no_grad()
    def learn(self, encodings: Tensor) -> None:
        """Update the codes from encodings (rows, dim); creates new tensors, as an autograd graph may hold the old ones.

        A code is not reset to an encoding at which another code already lies: coincident codes would act as one code.
        """
        index = self.nearest(encodings)
        new = (1 - self.decay) * nn.functional.one_hot(index, len(self.codes)).to(encodings)  # (rows, K)
        counts = self.decay * self.counts + new.sum(0)
        # as a difference, so that a code equal to its encodings does not change by rounding
        step = new.T @ (encodings - self.codes[index]) / counts.clamp_min(1e-30).unsqueeze(-1)
        share = len(encodings) / len(self.codes)
        dead = (counts < DEAD * share) | (self.counts == 0)  # all of them before the first update
        rows = torch.randperm(len(encodings), device=encodings.device)
        fresh = encodings[rows[torch.arange(len(self.codes), device=rows.device) % len(rows)]]
        moved = torch.where(dead.unsqueeze(-1), fresh, self.codes + step)
        same = _same(moved)
        before = torch.ones_like(same).tril(-1)
        taken = (same & torch.where(dead.unsqueeze(-1), before | ~dead, False)).any(-1)
        moved = torch.where(taken.unsqueeze(-1), self.codes, moved)
        self.codes = moved[_same(moved).to(torch.uint8).argmax(-1)]  # the first of those that coincide
        self.counts = torch.where(dead, share, counts)


class _Codes(constraints.Constraint):
    """Support: vectors that concatenate `groups` codes."""

    is_discrete = True
    event_dim = 1

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        self.lower_bound, self.upper_bound = codes.min(), codes.max()

    def check(self, value: Tensor) -> Tensor:
        """Which values (*leading, groups * dim) are such vectors, (*leading,)."""
        return _matches(value, self.codes).any(-1).all(-1)


@runtime_checkable
class Quantizes(Protocol):
    """A posterior whose draws are vectors of `groups` codes of a codebook of `num_codes`."""

    groups: int
    num_codes: int

    def over_codes(self, logits: Tensor) -> CodeMass:
        """The mass over all vectors of codes, from unnormalized log weights (groups, num_codes)."""
        ...


class Code(dist.Delta):
    """All mass on one vector of codes, event_shape (groups * dim,).

    Parameters
    ----------
    v
        The vectors, (*batch, groups * dim).
    codes
        The codes, (K, dim).
    """

    anywhere = True  # its codes may lie in the support of another prior by chance alone

    def __init__(self, v: Tensor, codes: Tensor, validate_args: bool | None = None) -> None:
        self.codes = codes
        super().__init__(v, event_dim=1, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """All vectors of codes."""
        return _Codes(self.codes)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> Code:
        """In a larger batch."""
        new = self._get_checked_instance(Code, _instance)
        new.codes = self.codes
        return super().expand(batch_shape, _instance=new)


class CodeMass(TorchDistribution):
    """prod over groups of w_g(code), a mass over all vectors of codes, event_shape (groups * dim,).

    Parameters
    ----------
    logits
        Unnormalized log weights, (groups, K).
    codes
        The codes, (K, dim).

    Examples
    --------
    >>> p = CodeMass(torch.zeros(2, 4), torch.arange(4.0).unsqueeze(-1))
    >>> p.log_prob(torch.tensor([[0.0, 3.0], [0.5, 3.0]])).exp()
    tensor([0.0625, 0.0000])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor, codes: Tensor, validate_args: bool | None = None) -> None:
        self.log_weights, self.codes = logits.log_softmax(-1), codes
        super().__init__(torch.Size(), torch.Size([len(logits) * codes.shape[-1]]), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """All vectors of codes."""
        return _Codes(self.codes)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> CodeMass:
        """In a larger batch."""
        new = self._get_checked_instance(CodeMass, _instance)
        new.log_weights, new.codes = self.log_weights, self.codes
        super(CodeMass, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def matches(self, value: Tensor) -> Tensor:
        """Which code each group of values (*leading, groups * dim) is, one of equal codes, (*leading, groups, K)."""
        return _first(_matches(value, self.codes))

    def log_prob(self, value: Tensor) -> Tensor:
        """log of the mass of values (*leading, groups * dim), -inf for other vectors."""
        each = torch.where(_matches(value, self.codes), self.log_weights, -torch.inf)
        log_p = each.logsumexp(-1).sum(-1)  # codes that coincide add up
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Vectors of codes, (*sample_shape, *batch, groups * dim)."""
        shape = self._extended_shape(torch.Size(sample_shape))[:-1]
        return self.codes[dist.Categorical(logits=self.log_weights).sample(shape)].flatten(-2)

    @property
    def mean(self) -> Tensor:
        """(*batch, groups * dim)."""
        return (self.log_weights.exp() @ self.codes).flatten().expand(*self.batch_shape, *self.event_shape)

    @property
    def variance(self) -> Tensor:
        """E[(z - mean)^2] of each coordinate, (*batch, groups * dim)."""
        weights = self.log_weights.exp()
        from_mean = self.codes - (weights @ self.codes).unsqueeze(-2)  # (groups, K, dim)
        rounding = (weights.unsqueeze(-1) * from_mean).sum(-2, keepdim=True)  # of a mean far from 0
        square = (weights.unsqueeze(-1) * (from_mean - rounding).square()).sum(-2)
        return square.flatten().expand(*self.batch_shape, *self.event_shape)


class AutoregressiveCodes(TorchDistribution):
    """prod over groups of w_g(code | codes of the groups before), a mass over vectors of codes.

    Parameters
    ----------
    logits_of
        Unnormalized log weights (*leading, groups, K) of each group, from one-hot codes (*leading, groups, K) of which
        it reads those of the groups before.
    groups
        Number of groups.
    codes
        The codes, (K, dim).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self, logits_of: Callable[[Tensor], Tensor], groups: int, codes: Tensor, validate_args: bool | None = None
    ) -> None:
        self.logits_of, self.groups, self.codes = logits_of, groups, codes
        super().__init__(torch.Size(), torch.Size([groups * codes.shape[-1]]), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """All vectors of codes."""
        return _Codes(self.codes)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> AutoregressiveCodes:
        """In a larger batch."""
        new = self._get_checked_instance(AutoregressiveCodes, _instance)
        new.logits_of, new.groups, new.codes = self.logits_of, self.groups, self.codes
        super(AutoregressiveCodes, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """log of the mass of values (*leading, groups * dim), -inf for other vectors."""
        match = _matches(value, self.codes)
        log_weights = self.logits_of(_first(match).to(value.dtype)).log_softmax(-1)
        log_p = torch.where(match, log_weights, -torch.inf).logsumexp(-1).sum(-1)
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Vectors of codes, (*sample_shape, *batch, groups * dim), a group after the other."""
        shape = self._extended_shape(torch.Size(sample_shape))[:-1]
        with torch.no_grad():
            one_hot = self.codes.new_zeros(*shape, self.groups, len(self.codes))
            first = _first(_matches(self.codes, self.codes).squeeze(-2)).to(torch.uint8).argmax(-1)
            for g in range(self.groups):
                index = dist.Categorical(logits=self.logits_of(one_hot)[..., g, :]).sample()
                one_hot[..., g, :] = nn.functional.one_hot(first[index], len(self.codes)).to(one_hot)
            return self.codes[one_hot.argmax(-1)].flatten(-2)


@register_kl(Code, AutoregressiveCodes)  # type: ignore[untyped-decorator]
@register_kl(Code, CodeMass)  # type: ignore[untyped-decorator]
def _kl_of_a_code(q: Code, p: CodeMass | AutoregressiveCodes) -> Tensor:
    return -p.log_prob(q.v)


def _same(codes: Tensor) -> Tensor:
    """Which codes are equal up to rounding, (K, K).

    The same encoding, computed in another row of a batch, differs by rounding; which of two codes at it is nearest must
    not depend on that.
    """
    tolerance = 100 * torch.finfo(codes.dtype).eps * codes.abs().max()
    return torch.cdist(codes, codes, p=torch.inf) <= tolerance


def _first(match: Tensor) -> Tensor:
    """Of the codes that a value is, (*leading, K), the first: codes that coincide are one."""
    return match & (match.cumsum(-1) == 1)


def _matches(value: Tensor, codes: Tensor) -> Tensor:
    parts = value.unflatten(-1, (-1, codes.shape[-1])).unsqueeze(-2)  # (*leading, groups, 1, dim)
    match = torch.ones((), dtype=torch.bool, device=value.device)
    for i in range(codes.shape[-1]):  # no (*leading, groups, K, dim) array
        match = match & (parts[..., i] == codes[:, i])
    return match
