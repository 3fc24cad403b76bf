"""Geodesics: the shortest walks on the decoded manifold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.arguments import Count, Positive, checked
from ppl_vae.calls import verb
from ppl_vae.isolation import frozen
from ppl_vae.manifold.code_graph import CodeGraph
from ppl_vae.manifold.pullback import along, check_codes, decoded, step_lengths
from ppl_vae.manifold.walks import interpolate
from ppl_vae.precision import in_float64
from ppl_vae.vae import VAE

__all__ = ["Geodesic", "geodesic"]

ROUND = 20  # iterations between two checks of convergence


@checked
@dataclass(frozen=True)
class Geodesic:
    """Shortest walks found, their lengths sums of chords in raw data units.

    Attributes
    ----------
    z
        Walks at about constant speed in data space, (*leading, steps, latent_dim).
    length
        Their lengths, (*leading,).
    straight
        Lengths of the straight lines between the same codes at as many steps, (*leading,); never below `length`.
    from_graph
        Whether the walk was found from the path through the codes, (*leading,).
    converged
        Whether the last iterations gained less than the tolerance, (*leading,).
    """

    z: Tensor
    length: Tensor
    straight: Tensor
    from_graph: Tensor
    converged: Tensor


@verb
def geodesic(
    vae: VAE,
    a: Tensor,
    b: Tensor,
    *context: Tensor,
    steps: Count = 61,
    through: Tensor | None = None,
    num_neighbours: Count = 10,
    max_iter: Count = 500,
    tolerance: Positive = 1e-3,
) -> Geodesic:
    """Walks from a to b of least energy sum_i |g(z_{i+1}) - g(z_i)|^2, g the decoder's mean.

    They are discrete geodesics of the pull-back metric J^T J, by L-BFGS over the inner points, a pair at a time, and
    never longer than the straight line at as many steps, which they start from. Only a local minimum is found.
    `through` adds a start, the shortest path through a graph of codes, and the shorter result is kept: on trained
    decoders that gains little, around a fold it may gain much. The metric is of the mean alone, so a geodesic may
    cross regions without data where the decoder hardly changes. With few steps the chords cut corners: take 50 or
    more, of which a picture shows some.

    Parameters
    ----------
    vae
        A `VAE`, an autoencoder among them; decoded in eval mode, its weights stay as they are.
    a, b
        Ends, (*leading, latent_dim); they broadcast.
    *context
        What the VAE is conditioned on, each (*leading, ...), constant along a walk.
    steps
        Number of points, the ends included.
    through
        Codes (n, latent_dim), of training data for instance, for a second start; not with a context.
    num_neighbours
        Neighbours each code is joined to in the graph.
    max_iter
        Iterations of L-BFGS from each start.
    tolerance
        Converged where 20 iterations lower the energy by no more than this share.

    Returns
    -------
    Geodesic

    Raises
    ------
    TypeError
        For an object that is no `VAE`, and for codes that are no tensors of floats.
    ValueError
        For what `interpolate` refuses, ends that are not finite, and codes to go through that are not (n, latent_dim)
        and finite, or beside a context.

    References
    ----------
    Shao, Kumar & Fletcher 2018, arXiv:1711.08014; Chen et al. 2018, arXiv:1711.01204; Arvanitidis, Hansen & Hauberg
    2018, arXiv:1710.11379.

    Examples
    --------
    >>> from ppl_vae import VAE, DiagonalNormal, Gaussian, StandardNormal
    >>> _ = torch.manual_seed(0)
    >>> vae = VAE(StandardNormal(2), Gaussian(2, (5,)), DiagonalNormal((5,), 2))
    >>> found = geodesic(vae, torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 1.0]))
    >>> bool(found.length < found.straight), bool(found.converged)
    (True, True)
    """
    lines = _checked_lines(vae, a, b, context, steps, through)
    like, leading = next(vae.parameters()), lines.shape[:-2]
    rank = len(leading)
    shared = [c.expand(*leading, *c.shape[rank:]).reshape(-1, *c.shape[rank:]) for c in context]
    found = []
    with frozen(vae):
        graph = None if through is None else CodeGraph(vae, through.to(like), num_neighbours)
        for i, line in enumerate(lines.reshape(-1, *lines.shape[-2:])):
            given = along(tuple(c[i] for c in shared), 0)
            starts = [line] if graph is None else [line, graph.path(line[0], line[-1], steps)]
            tried = [_relaxed(vae, start, given, max_iter, tolerance) for start in starts if start is not None]
            lengths = [_length(vae, z, given) for z, _ in tried] + [_length(vae, line, given)]
            best = min(range(len(lengths)), key=lengths.__getitem__)
            z, converged = [*tried, (line, tried[0][1])][best]
            found.append((z, torch.tensor([lengths[best], lengths[-1]]), best == 1 < len(tried), converged))
    z, lengths_, from_graph, converged_ = zip(*found, strict=True)
    pairs = torch.stack(lengths_).to(like).reshape(*leading, 2)
    flags = torch.tensor([from_graph, converged_], device=like.device).reshape(2, *leading)
    return Geodesic(torch.stack(z).reshape(lines.shape), pairs[..., 0], pairs[..., 1], flags[0], flags[1])


def _checked_lines(
    vae: VAE, a: Tensor, b: Tensor, context: tuple[Tensor, ...], steps: int, through: Tensor | None
) -> Tensor:
    """The straight lines from a to b, (*leading, steps, latent_dim), once all that is given has been checked."""
    check_codes("geodesic", a, b, *(() if through is None else (through,)))
    if through is not None and context:
        raise ValueError(
            "geodesic expects no codes to go through beside a context, which moves them, got both; leave out through"
        )
    like = next(vae.parameters())
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("geodesic expects finite ends, got NaN or inf among them; leave these out")
    lines = interpolate(a.to(like), b.to(like), steps).detach()
    if through is not None and not _fits(through, lines.shape[-1]):
        raise ValueError(
            f"geodesic expects finite codes (n, {lines.shape[-1]}) to go through, n >= 1, got shape "
            f"{tuple(through.shape)} with {int((~through.isfinite()).sum())} values that are not finite; give codes of "
            "training data: vae.encode(x).mean"
        )
    return lines


def _fits(codes: Tensor, dim: int) -> bool:
    return codes.dim() == 2 and len(codes) > 0 and codes.shape[1] == dim and bool(codes.isfinite().all())


def _length(vae: VAE, z: Tensor, context: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        return in_float64(step_lengths(vae, z, *context)).sum().item()


def _relaxed(
    vae: VAE, start: Tensor, context: tuple[Tensor, ...], max_iter: int, tolerance: float
) -> tuple[Tensor, bool]:
    """The walk of least energy near one, (steps, latent_dim), and whether it converged."""
    if len(start) < 3:
        return start, True
    whiten = _whitening(len(start) - 2, start) * (start[-1] - start[0]).norm()
    moves = torch.zeros_like(start[1:-1]).requires_grad_()

    def walk() -> Tensor:
        return torch.cat([start[:1], start[1:-1] + whiten @ moves, start[-1:]])

    def energy() -> Tensor:
        return decoded(vae, walk(), *context).flatten(1).diff(dim=0).square().sum()

    with torch.enable_grad():
        scale = energy().item()
        converged = scale == 0 or _minimize(lambda: energy() / scale, moves, max_iter, tolerance)
    return walk().detach(), converged


def _whitening(size: int, like: Tensor) -> Tensor:
    """L^-T for L L^T the Hessian of the energy under a constant metric: a preconditioner for any number of steps."""
    second = 2 * torch.eye(size, dtype=torch.float64)
    second -= torch.diag(torch.ones(size - 1, dtype=torch.float64), 1)
    second -= torch.diag(torch.ones(size - 1, dtype=torch.float64), -1)
    return torch.linalg.inv(torch.linalg.cholesky(second)).mT.to(like)


def _minimize(loss: Callable[[], Tensor], moves: Tensor, max_iter: int, tolerance: float) -> bool:
    optimizer = torch.optim.LBFGS(
        [moves], max_iter=ROUND, history_size=ROUND, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    before = loss().item()
    for _ in range(-(-max_iter // ROUND)):
        optimizer.step(closure)
        after = loss().item()
        if after >= (1 - tolerance) * before:
            return True
        before = after
    return False
