"""A probability mass over the codes of a vector-quantized posterior."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ppl_vae.arguments import Name, checked
from ppl_vae.codebook import CodeMass, Quantizes
from ppl_vae.priors.prior import Prior

__all__ = ["CodePrior"]


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
        if not isinstance(posterior, Quantizes):
            raise ValueError(
                f"CodePrior expects a VectorQuantized posterior, got {type(posterior).__name__}, which has no codes; "
                "use VectorQuantized, or another prior"
            )
        # the bound method, so that the posterior is not registered twice
        self._over_codes: Callable[[Tensor], CodeMass] = posterior.over_codes
        self.logits = nn.Parameter(torch.zeros(posterior.groups, posterior.num_codes), requires_grad=weighted)

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
