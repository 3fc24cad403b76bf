"""What `build` reads of data."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

from ppl_vae.arguments import Count, checked
from ppl_vae.data.columns import Columns
from ppl_vae.domain import Domain
from ppl_vae.factories import Factory
from ppl_vae.split import Split

__all__ = ["DataSpec", "Described"]


class Described(Protocol):
    """The attributes of data that `build` needs; every data set of `ppl_vae.data` has them.

    Data may also have the other attributes of `DataSpec`.
    """

    @property
    def x_shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def context_shapes(self) -> tuple[tuple[int, ...], ...]: ...  # noqa: D102
    @property
    def domain(self) -> Domain: ...  # noqa: D102


@checked
@dataclass(frozen=True)
class DataSpec:
    """The attributes of data that `build` reads.

    Parameters
    ----------
    x_shape
        Shape of one datum.
    domain
        The values x takes.
    context_shapes
        Shapes of the context of one datum.
    masked
        Whether elements of the training data are missing.
    train
        Training data to start from; `None` for none.
    likelihood
        The likelihood class, or partial of one, that the data were prepared for; `None` for the usual one.
    columns
        What the columns of a frame hold; `None` for other data.

    Raises
    ------
    ValueError
        For a domain of another number of columns than x.

    Examples
    --------
    >>> from ppl_vae import build
    >>> vae = build(DataSpec((1, 28, 28), Domain("binary")), latent_dim=2)
    """

    x_shape: tuple[Count, ...]
    domain: Domain
    context_shapes: tuple[tuple[Count, ...], ...] = ()
    masked: bool = False
    train: Split | None = None
    likelihood: Factory | None = None
    columns: Columns | None = None

    def __post_init__(self) -> None:
        if self.domain.num_columns is not None:
            self.domain.columns(self.x_shape[-1] if self.x_shape else 1)

    @classmethod
    def of(cls, data: Described) -> DataSpec:
        """That of data, which may lack the attributes that have a default."""
        return cls(**{field.name: getattr(data, field.name) for field in fields(cls) if hasattr(data, field.name)})
