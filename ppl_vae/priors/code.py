"""Probability masses over the codes of a vector-quantized posterior."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ppl_vae.arguments import Count, Name, checked
from ppl_vae.codebook import AutoregressiveCodes, CodeMass, Quantizes
from ppl_vae.priors.prior import Prior

__all__ = ["AutoregressiveCodePrior", "CodePrior"]


@checked
class CodePrior(Prior):
    """p(z) = prod over groups of w_g(z_g), a mass over the codes of a `VectorQuantized` posterior.

    It calls the posterior it is given and does not own it, as the posterior's codebook is its support.

    Parameters
    ----------
    posterior
        The `VectorQuantized` posterior.
    weighted
        Whether the weights of the codes, separate for each group, are learned; 1 / K otherwise.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For another posterior, which has no codes.

    References
    ----------
    van den Oord et al. 2017, arXiv:1711.00937.
    """

    uses_context = False

    def __init__(self, posterior: nn.Module, weighted: bool = False, *, site: Name = "z") -> None:
        super().__init__(site)
        quantizer = _quantizer("CodePrior", posterior)
        # the bound method, so that the posterior is not registered twice
        self._over_codes: Callable[[Tensor], CodeMass] = quantizer.over_codes
        self.logits = nn.Parameter(torch.zeros(quantizer.groups, quantizer.num_codes), requires_grad=weighted)

    def given(self, *context: Tensor) -> CodeMass:
        """The mass; the context is ignored."""
        return self._over_codes(self.logits)

    def start_from(self, z: Tensor) -> None:
        """Initialize the weights with the relative frequencies of the codes in each group, one added to each count."""
        with torch.no_grad():
            self.logits.copy_((self.given().matches(z).sum(0) + 1).log())

    def settings(self) -> str:
        """What `formula` adds."""
        return " x ".join(map(str, self.logits.shape))


@checked
class AutoregressiveCodePrior(Prior):
    """p(z) = prod_g w_g(z_g | z_1, ..., z_(g-1)): a mass over the codes in which each group depends on those before.

    A masked network of one hidden layer: one pass for a mass, a pass a group for a draw. It is made to be fitted after
    a `VectorQuantized` autoencoder (`fit_prior`), whose codes a `CodePrior` draws as if they were independent; trained
    together with it, it also pulls the codes to where they are predictable.

    Parameters
    ----------
    posterior
        The `VectorQuantized` posterior, or another with codes, of 2 groups or more.
    hidden_dim
        Width of the hidden layer, for each group.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For a posterior that has no codes, and for one group, whose codes have no order.

    References
    ----------
    van den Oord et al. 2017, arXiv:1711.00937, section 3.3; Germain et al. 2015, arXiv:1502.03509 (the masks).
    """

    uses_context = False

    none: Tensor
    read: Tensor

    def __init__(self, posterior: nn.Module, hidden_dim: Count = 64, *, site: Name = "z") -> None:
        super().__init__(site)
        quantizer = _quantizer("AutoregressiveCodePrior", posterior)
        groups, num = quantizer.groups, quantizer.num_codes
        if groups < 2:
            raise ValueError(
                f"AutoregressiveCodePrior expects a posterior of 2 groups of codes or more, got {groups}; give "
                "groups=4, say, or use CodePrior with weighted=True"
            )
        self._over_codes: Callable[[Tensor], CodeMass] = quantizer.over_codes
        self.register_buffer("none", torch.zeros(groups, num))
        self.register_buffer("read", torch.ones(groups, groups - 1).triu())  # hidden part h reads groups 0 to h
        self.first = nn.Parameter(torch.randn(groups, num, groups - 1, hidden_dim) * (groups * hidden_dim) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(groups - 1, hidden_dim))
        self.second = nn.Parameter(torch.randn(groups - 1, hidden_dim, groups, num) * (groups * hidden_dim) ** -0.5)
        self.logits = nn.Parameter(torch.zeros(groups, num))

    def given(self, *context: Tensor) -> AutoregressiveCodes:
        """The mass; the context is ignored."""
        return AutoregressiveCodes(self._logits_of, len(self.logits), self._over_codes(self.none).codes)

    def _logits_of(self, one_hot: Tensor) -> Tensor:
        """Log weights of each group, from the codes of those before."""
        first = (self.first * self.read[:, None, :, None]).flatten(2).flatten(0, 1)
        after = (1 - self.read).T  # group g is given hidden parts 0 to g - 1
        second = (self.second * after[:, None, :, None]).flatten(2).flatten(0, 1)
        hidden = torch.tanh(one_hot.flatten(-2) @ first + self.bias.flatten())
        return (hidden @ second).unflatten(-1, self.logits.shape) + self.logits

    def start_from(self, z: Tensor) -> None:
        """Initialize the weights without the groups before as `CodePrior` does."""
        with torch.no_grad():
            self.logits.copy_((self._over_codes(self.none).matches(z).sum(0) + 1).log())

    def settings(self) -> str:
        """What `formula` adds."""
        return " x ".join(map(str, self.logits.shape))


def _quantizer(name: str, posterior: nn.Module) -> Quantizes:
    if not isinstance(posterior, Quantizes):
        raise ValueError(
            f"{name} expects a VectorQuantized posterior, got {type(posterior).__name__}, which has no codes; "
            "use VectorQuantized, or another prior"
        )
    return posterior
