"""The base of posteriors on codes."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.codebook import CodeMass, Usage
from ppl_vae.posteriors.posterior import Posterior

__all__ = ["Coded"]


class Coded(Posterior):
    """A mass on one vector of `groups` codes of `num_codes`, whose use is counted.

    A leaf gives `codes`, (num_codes, dim), and `usage`, which it has count the codes that are used in training.
    """

    groups: int
    num_codes: int
    codes: Tensor
    usage: Usage

    def over_codes(self, logits: Tensor) -> CodeMass:
        """The mass over all vectors of codes, from unnormalized log weights (groups, num_codes)."""
        return CodeMass(logits, self.codes)

    def reported(self) -> dict[str, float]:
        """Perplexity of the codes in this epoch, for the training history; resets the counts."""
        perplexity = self.usage.perplexity()
        self.usage.count_anew()
        return {f"perplexity_{self.site}": perplexity}

    def settings(self) -> str:
        """What `formula` adds."""
        return f"{self.num_codes}, groups={self.groups}"
