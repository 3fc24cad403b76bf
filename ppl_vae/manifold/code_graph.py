"""Shortest paths through the codes of data: initial curves of geodesics in regions with data."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from torch import Tensor

from ppl_vae.manifold.pullback import at_once, step_lengths
from ppl_vae.manifold.walks import interpolate
from ppl_vae.memory import chunks
from ppl_vae.precision import in_float64
from ppl_vae.vae import VAE

__all__ = ["CodeGraph"]

POINTS = 6  # decoded along each edge
MAX_ROWS = 10_000


class CodeGraph:
    """Codes joined to their nearest neighbours, each edge as long as its decoded line.

    Parameters
    ----------
    vae
        A `VAE`.
    codes
        (n, latent_dim).
    num_neighbours
        How many each code is joined to.

    References
    ----------
    Tenenbaum, de Silva & Langford 2000, doi:10.1126/science.290.5500.2319 (paths through a graph of neighbours).
    """

    def __init__(self, vae: VAE, codes: Tensor, num_neighbours: int = 10) -> None:
        self.vae = vae
        self.codes = codes.detach()
        self._tree = cKDTree(self.codes.cpu().numpy())
        self._num_neighbours = num_neighbours
        near = self._near(self.codes, num_neighbours + 1)  # of a code, one is itself
        self._from, self._to = np.repeat(np.arange(len(codes)), near.shape[1]), near.ravel()
        self._lengths = self._edges(self.codes[self._from], self.codes[self._to])

    def path(self, a: Tensor, b: Tensor, steps: int) -> Tensor | None:
        """The shortest path from a to b through codes, at even steps in data space, (steps, latent_dim).

        `None` where the graph does not connect them.
        """
        ends = torch.stack([a, b])
        near = self._near(ends, self._num_neighbours)
        n = len(self.codes)
        first = np.concatenate([self._from, np.repeat([n, n + 1], near.shape[1])])
        second = np.concatenate([self._to, near.ravel()])
        joined = self._edges(ends.repeat_interleave(near.shape[1], 0), self.codes[near.ravel()])
        tiny = np.finfo(float).tiny  # a stored zero would be no edge
        lengths = np.concatenate([self._lengths, joined]) + tiny
        nodes_of_edges = first.astype(np.int32), second.astype(np.int32)  # dijkstra of scipy 1.13 takes no others
        graph = csr_array((lengths, nodes_of_edges), shape=(n + 2, n + 2))
        _, before = dijkstra(graph, directed=False, indices=n, return_predecessors=True)
        nodes = [n + 1]
        while nodes[-1] != n:
            nodes.append(before[nodes[-1]])
            if nodes[-1] < 0:
                return None
        return self._resampled(torch.cat([self.codes, ends])[nodes[::-1]], steps)

    def _near(self, z: Tensor, count: int) -> np.ndarray:
        _, near = self._tree.query(z.cpu().numpy(), k=min(count, len(self.codes)))
        return near.reshape(len(z), -1)

    def _edges(self, a: Tensor, b: Tensor) -> np.ndarray:
        """Lengths of the decoded lines between codes (edges, latent_dim)."""
        with torch.no_grad():
            max_rows = at_once(self.vae, MAX_ROWS, a[:1])
            parts = [
                step_lengths(self.vae, interpolate(a[some], b[some], POINTS)).sum(-1)
                for some in chunks(len(a), POINTS, max_rows)
            ]
        return in_float64(torch.cat(parts)).cpu().numpy()

    def _resampled(self, nodes: Tensor, steps: int) -> Tensor:
        """A path through nodes, at even steps of its decoded length."""
        at = np.concatenate([[0.0], self._edges(nodes[:-1], nodes[1:]).cumsum()])
        wanted = np.linspace(0, at[-1], steps)
        z = nodes.cpu().numpy()
        path = np.stack([np.interp(wanted, at, unit) for unit in z.T], -1)
        path[0], path[-1] = z[0], z[-1]
        return torch.as_tensor(path).to(nodes)
