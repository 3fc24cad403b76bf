"""Flows of zuko as distributions of Pyro."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.libraries import needing

__all__ = ["ZukoFlow", "zuko_flows"]

Shape = Sequence[int]


class ZukoFlow(TorchDistribution):
    """A normalizing flow of zuko on all real vectors: one pass of its transforms for a density.

    `pyro.contrib.zuko` has no support, and draws without a gradient fail there.

    Parameters
    ----------
    flow
        What a flow of zuko gives when it is called: a distribution with `rsample` and `log_prob`.
    """

    arg_constraints = {}  # noqa: RUF012, torch's declaration is no ClassVar
    support = constraints.real_vector

    def __init__(self, flow: Any, validate_args: bool | None = None) -> None:
        self.flow, self.has_rsample = flow, flow.has_rsample
        super().__init__(flow.batch_shape, flow.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: TorchDistribution | None = None) -> ZukoFlow:
        """Expanded to `batch_shape`."""
        new = self._get_checked_instance(ZukoFlow, _instance)
        ZukoFlow.__init__(new, self.flow.expand(torch.Size(batch_shape)), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws (*sample_shape, *batch, dim) without a gradient, which a mixture of zuko has alone."""
        with torch.no_grad():
            z: Tensor = (self.flow.rsample if self.has_rsample else self.flow.sample)(torch.Size(sample_shape))
        return z

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws (*sample_shape, *batch, dim)."""
        z: Tensor = self.flow.rsample(torch.Size(sample_shape))
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_p: Tensor = self.flow.log_prob(value)
        return log_p


def zuko_flows(caller: str) -> ModuleType:
    """The module `zuko.flows`, for a part of this name.

    Raises
    ------
    ImportError
        Without zuko.
    """
    validates = Distribution._validate_args
    try:
        with needing(caller, "zuko", "zuko"):
            from zuko import flows
    finally:
        Distribution.set_default_validate_args(validates)  # importing zuko turns it off for all of torch
    return flows
