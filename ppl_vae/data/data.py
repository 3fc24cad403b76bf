"""A data set: three splits with their domain, units and provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from torch import Tensor

from ppl_vae.arguments import Seed, checked
from ppl_vae.data import steps
from ppl_vae.data.columns import Columns
from ppl_vae.data.suit import steps_between, way_to
from ppl_vae.data.transforms import Dequantize, SampleBinary, Standardize, Threshold
from ppl_vae.domain import Domain
from ppl_vae.split import Split

__all__ = ["Data"]


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """Training, validation and test data with their domain; methods return new data.

    Parameters
    ----------
    name
        Name of the data set.
    train, validation, test
        The splits; each takes over `domain` and `provenance`.
    domain
        The values x takes.
    classes
        Names of the labels, which each split takes over; with `None` a split keeps its own.
    provenance
        Name, checksums of the source, seed and sizes of the split, and the transforms in order, for JSON.
    likelihood
        The likelihood class, or partial of one, that the data were prepared for by `suit`; or `None`.
    suited
        The steps of `suit`, in words; empty if there were none.

    Raises
    ------
    ValueError
        Where a split is empty, or the splits differ in the shape of x.

    Examples
    --------
    >>> from ppl_vae.data import load
    >>> load("digits").binarize("static", seed=0)
    Data('digits', 1197 + 300 + 300 data, x_shape=(1, 8, 8), binary)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    domain: Domain
    classes: tuple[str, ...] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    likelihood: Callable[..., Any] | None = None
    suited: str = ""

    def __post_init__(self) -> None:
        for role, split in self.splits.items():
            if not len(split) or split.x.shape[1:] != self.train.x.shape[1:]:
                raise ValueError(
                    f"Data expects non-empty splits with x of one shape, got {tuple(split.x.shape)} for "
                    f"{role} and {tuple(self.train.x.shape)} for train; give all splits data of one shape"
                )
            said, names = {**self.provenance, "split": role}, self.classes or split.classes
            object.__setattr__(self, role, replace(split, domain=self.domain, provenance=said, classes=names))

    def __repr__(self) -> str:
        sizes = " + ".join(str(len(split)) for split in self.splits.values())
        left = [step["left"] for step in self.provenance.get("transforms", []) if "left" in step]
        kind = "; ".join([self.domain.described, *left])
        done = f" by {self.suited}" if self.suited else ""
        noted = steps.noted(self.splits.values(), self.provenance)
        return f"Data({self.name!r}, {sizes} data, x_shape={self.x_shape}, {kind}{done}{noted})"

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {role: getattr(self, role) for role in steps.ROLES}

    @property
    def columns(self) -> Columns | None:
        """What the columns of a frame hold, printed as a table; `None` for data that came from none."""
        plain = self.provenance.get("columns")
        return None if plain is None else Columns.of(plain)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one datum; (channels, height, width) for images."""
        return tuple(self.train.x.shape[1:])

    @property
    def context_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of what one datum is conditioned on."""
        return tuple(tuple(c.shape[1:]) for c in self.train.context)

    @property
    def masked(self) -> bool:
        """Whether elements of the training data are missing."""
        return self.train.mask is not None and bool((self.train.elements < self.train.x[:1].numel()).any())

    @property
    def checksum(self) -> str:
        """SHA-256 over the splits and their pending random preprocessing."""
        parts = [(split.checksum, split.pending) for split in self.splits.values()]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @checked
    def binarize(
        self,
        mode: Literal["dynamic", "static", "threshold"] = "dynamic",
        *,
        threshold: float = 0.5,
        seed: Seed = 0,
    ) -> Data:
        """Data in {0, 1}.

        Parameters
        ----------
        mode
            ``"static"`` draws x ~ Bernoulli(grey value) once for every split; ``"dynamic"`` draws the
            training data afresh for every batch, validation and test once; ``"threshold"`` draws nothing.
            Results of different modes are not comparable: log p(x) differs by several nats per datum.
        threshold
            Grey value in (0, 1) above which ``"threshold"`` gives a one.
        seed
            Of the data that are drawn once.

        Returns
        -------
        Data
            With a binary domain.

        Raises
        ------
        ValueError
            For data that are not grey (levels or unit), an unknown mode, or a threshold outside (0, 1).

        References
        ----------
        Salakhutdinov and Murray (2008), doi:10.1145/1390156.1390266; Burda, Grosse and Salakhutdinov (2016),
        arXiv:1509.00519.
        """
        top = steps.check_binarize(self.domain, threshold)
        record: dict[str, Any] = {"transform": "binarize", "mode": mode}
        if mode == "threshold":
            return self._through(Threshold(threshold, top), Domain("binary"), {**record, "threshold": threshold})
        per_batch = ("train",) if mode == "dynamic" else ()
        record["seed"] = seed
        return self._through(SampleBinary(top), Domain("binary"), record, per_batch=per_batch, seed=seed)

    @checked
    def dequantize(self, *, seed: Seed = 0) -> Data:
        """Data (raw + u) / levels in [0, 1), u ~ U[0, 1): training data per batch, validation and test once.

        Parameters
        ----------
        seed
            Of the validation and test data.

        Returns
        -------
        Data
            With a unit domain that keeps the number of levels and the volume, for bits per dimension.

        Raises
        ------
        ValueError
            For data that are not grey levels.
        """
        levels = steps.levels_of(self.domain, "dequantize", "leave out the step, or give Domain('levels', 256)")
        record = {"transform": "dequantize", "levels": levels, "seed": seed}
        domain = self.domain.rescaled(0.0, float(levels), kind="unit")
        return self._through(Dequantize(levels), domain, record, per_batch=("train",), seed=seed)

    def as_counts(self) -> Data:
        """Data whose grey levels 0, 1, ... are taken for counts, which have no largest value.

        Returns
        -------
        Data
            With the same values and the domain of counts.

        Raises
        ------
        ValueError
            For data that are not grey levels.
        """
        steps.levels_of(self.domain, "as_counts", "give whole numbers from 0 on with domain=Domain('counts')")
        return self._each({"transform": "as_counts"}, lambda role, split: split, Domain("counts"))

    @checked
    def standardize(self, *, per: Literal["column", "all"] | None = None, seed: Seed = 0) -> Data:
        """Data (x - mean) / sd, by the mean and sd of the observed elements of the training data.

        Positive data stay positive: they are divided by their geometric mean. Discrete columns of a table stay as they
        are, and so do its shares, `unit` columns beside others; a constant one is only shifted, to 0; the repr says
        which. Results are in raw units all the same.

        Parameters
        ----------
        per
            By ``"column"`` of a table, or over ``"all"`` elements; by default by column where there are such.
        seed
            Of the draw that mean and sd are taken from, where the training data are drawn per batch.

        Returns
        -------
        Data
            With a domain that is real in place of real, and of unit where all columns are.

        Raises
        ------
        ValueError
            For discrete or constant data, for ``"column"`` of no table, and for ``"all"`` of columns of several kinds.
        """
        per = per or ("column" if len(self.x_shape) == 1 else "all")
        found = (steps.by_column if per == "column" else steps.over_all)(self.train, self.domain, seed)
        domain = self.domain.rescaled(found.loc, found.scale, kind=found.kind)
        return self._through(Standardize(found.loc, found.scale), domain, found.record(seed))

    @checked
    def suit(self, likelihood: Callable[..., Any], *, seed: Seed = 0) -> Data:
        """Data in a domain of a likelihood, by the fewest steps.

        Grey levels are binarized dynamically, counted, dequantized, or dequantized and standardized; unit data are
        binarized dynamically or standardized; data it can score as they are stay as they are.

        Parameters
        ----------
        likelihood
            A likelihood class, or `functools.partial` of one; its `kinds` are the domains it scores, the
            preferred one first.
        seed
            Of the data that are drawn once.

        Returns
        -------
        Data
            The data, which remember the likelihood, and whose repr says what was done.

        Raises
        ------
        TypeError
            For a likelihood without `kinds`.
        ValueError
            If no steps lead from the domain of the data to one of the likelihood.
        """
        made = way_to(likelihood, self.domain)(self, seed)
        return replace(made, likelihood=likelihood, suited=steps_between(self, made))

    def condition_on_labels(self) -> Data:
        """Data whose context is the label, one-hot, (n, classes).

        Returns
        -------
        Data
            With one context more.

        Raises
        ------
        ValueError
            Where a split has no labels.
        """
        labels = [split.y for split in self.splits.values() if split.y is not None]
        size = steps.num_classes(labels, self.classes, self.name)
        return self._each({"transform": "condition_on_labels", "classes": size}, partial(steps.labelled, size))

    @checked
    def take(self, train: int | None = None, validation: int | None = None, test: int | None = None) -> Data:
        """The first data of each split.

        Parameters
        ----------
        train, validation, test
            How many; `None` takes all.

        Returns
        -------
        Data
            Smaller data; nothing is copied.

        Raises
        ------
        ValueError
            For a number that is not between 1 and the size of the split.
        """
        sizes = dict(zip(steps.ROLES, (train, validation, test), strict=True))
        return self._each({"transform": "take", **sizes}, partial(steps.first, sizes))

    @checked
    def hide(self, fraction: float, *, seed: Seed = 0) -> Data:
        """Data of which elements are missing completely at random; a missing element is zero.

        Parameters
        ----------
        fraction
            Probability that an element is hidden, in (0, 1).
        seed
            Of the choice of elements.

        Returns
        -------
        Data
            With a mask (True where observed) in every split.

        Raises
        ------
        ValueError
            For a fraction outside (0, 1).
        """
        if not 0 < fraction < 1:
            raise ValueError(f"hide expects a fraction in (0, 1), got {fraction}; leave out this step to hide nothing")
        record = {"transform": "hide", "fraction": fraction, "seed": seed}
        return self._each(record, partial(steps.hidden, fraction, seed))

    def _each(self, record: dict[str, Any], after: Callable[[str, Split], Split], domain: Domain | None = None) -> Data:
        splits: dict[str, Any] = {role: after(role, split) for role, split in self.splits.items()}
        transforms = [*self.provenance.get("transforms", []), record]
        provenance = {**self.provenance, **steps.grey(self.domain, record), "transforms": transforms}
        return replace(self, domain=domain or self.domain, provenance=provenance, **splits)

    def _through(
        self,
        transform: Callable[[Tensor], Tensor],
        domain: Domain,
        record: dict[str, Any],
        *,
        per_batch: tuple[str, ...] | None = None,
        seed: Seed = 0,
    ) -> Data:
        # a deterministic map is pending only after noise that is drawn per batch
        waiting = tuple(role for role, split in self.splits.items() if split.pending)
        later_on = waiting if per_batch is None else per_batch

        def after(role: str, split: Split) -> Split:
            later = replace(split, pending=(*split.pending, transform))
            return later if role in later_on else later.fixed(steps.seed_of(role, seed))

        return self._each(record, after, domain)
