"""The posterior of a level that is given the level below."""

from __future__ import annotations

from ppl_vae.posteriors.normal import DiagonalNormal

__all__ = ["BottomUp"]


class BottomUp(DiagonalNormal):
    """q(z2 | z1) = N(z2; m(z1), diag(s(z1)^2)), and q(z1 | x) at the bottom; for all levels of a hierarchy.

    The posterior has these factors, too, since x depends on z1 alone. But q(z1 | x) has to match p(z1 | x), all of z2
    integrated out, which is less of a normal than p(z1 | z2, x); a top-down q and `Ladder` use more levels (Sønderby et
    al. 2016, arXiv:1602.02282). The encoder of a level above the bottom is the same class of network, for a vector;
    beside an encoder of pictures give these levels another, `partial(BottomUp, net=MLP)`.

    Parameters
    ----------
    x_shape, latent_dim, net, context, site
        See `Posterior`; above the bottom x_shape is (dimension of the level below,).

    Raises
    ------
    ValueError
        For one level alone, beside posteriors of another kind, and below a prior whose components are posteriors given
        data (`VampPrior`).

    References
    ----------
    Kingma & Welling 2014, arXiv:1312.6114; Burda et al. 2016, arXiv:1509.00519, equation 2 (several stochastic layers).
    """

    reads_below = True
    of_levels = True
