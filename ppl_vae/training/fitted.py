"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl_vae.arguments import checked
from ppl_vae.libraries import pd

__all__ = ["Fit"]


@checked
@dataclass(frozen=True)
class Fit:
    """The result of a training.

    Attributes
    ----------
    history
        Indexed by epoch, from 1; a column `train_` and `validation_` of each of `elbo`, `reconstruction` and
        `kl_<site>`, in nats per datum in the units of x, where `evaluate` has those of the raw data, and `beta`,
        `learning_rate` and `seconds`; and what a part of the program has `reported`, such as the `perplexity_<site>`
        of a codebook.
    best_epoch
        The epoch whose weights were kept.
    stopped
        Why it ended: ``"epochs"``, ``"patience"`` or ``"callback"``.
    run
        The run folder, if there is one.
    replayed
        Number of steps that were replayed as a graph, with the same numbers as the others.
    not_replayed
        Why none was, or none from some step on, where many were to come; else `None`.
    compiled
        Number of steps that were a compiled graph, with the same numbers up to rounding.
    not_compiled
        Why none was, or not with the optimizer's step in it, where `compile` asked for it; else `None`.
    compile_seconds
        What capturing and compiling took; less where inductor finds what it compiled before.
    """

    history: pd.DataFrame
    best_epoch: int
    stopped: str
    run: Path | None
    replayed: int = 0
    not_replayed: str | None = None
    compiled: int = 0
    not_compiled: str | None = None
    compile_seconds: float = 0.0

    def __repr__(self) -> str:
        best = self.history.loc[self.best_epoch]
        bound = any(str(name).startswith("train_kl_") for name in self.history)
        term = "elbo" if bound else "reconstruction"  # a point mass has no ELBO
        which = next(f"{split}_{term}" for split in ("validation", "train") if f"{split}_{term}" in best)
        reported = [name for name in best.index if name.startswith("perplexity_")]
        return (
            f"Fit({len(self.history)} epochs, stopped by {self.stopped}; kept epoch {self.best_epoch}: "
            f"{which.replace('_', ' ')} {best[which]:.3f} nats per datum in units of x"
            + "".join(f", perplexity of {name.removeprefix('perplexity_')} {best[name]:.1f}" for name in reported)
            + ")"
            + self._as_asked()
            + (_trend(self.history, self.best_epoch, which) if self.stopped == "epochs" else "")
        )

    def _as_asked(self) -> str:
        """What `compile` did, and what it did not do."""
        took = f"\n  {self.compiled} steps compiled, in {self.compile_seconds:.1f} s" if self.compiled else ""
        if self.not_compiled is None:
            return took
        return f"{took}\n  not compiled{' as a whole' if self.compiled else ''}: {self.not_compiled}"


def _trend(history: pd.DataFrame, best: int, which: str) -> str:
    """A hint where the last epochs rise, or lie below the best one, by more than noise explains."""
    last = history[which].to_numpy()[-_LAST:]
    if len(last) < _LAST or not np.isfinite(last).all():
        return ""
    slope, noise = _line(last)
    gain = slope * (_LAST - 1)
    if gain <= 2 * noise:
        return _fall(history, best, which, noise)
    return (
        f"\n  still improving: in the last {_LAST} epochs the {which.replace('_', ' ')} rose by {gain:.3g} nats per "
        f"datum, with noise of {noise:.2g} about this line; train for more epochs"
    )


def _fall(history: pd.DataFrame, best: int, which: str, noise: float) -> str:
    """A hint where the last epochs, with noise of this standard deviation, lie far below the best one."""
    curve = history[which].to_numpy()
    place = history.index.get_loc(best)
    bends = np.abs(np.diff(curve[max(0, place - _LAST) : place + _LAST], 2))
    around = 1.48 * np.median(bends) / np.sqrt(6)  # of noise of sd 1 the bends have an sd of sqrt(6)
    fall = curve[place] - curve[-_LAST:].mean()
    # the best of hundreds of epochs is 3 sd above their mean, and ten may look quieter than they are
    if not fall > 8 * noise or not fall > 6 * around:
        return ""
    trained = history[which.replace("validation_", "train_")].to_numpy()
    rise = trained[-_LAST:].mean() - trained[place]
    overfits = which.startswith("validation_") and rise > 0
    return (
        f"\n  falling: the {which.replace('_', ' ')} of the last {_LAST} epochs is {fall:.3g} nats per datum below "
        f"that of epoch {best}"
        + (f", while that of training rose by {rise:.3g}: fewer epochs, or smaller networks" if overfits else "")
        + ("" if overfits else ": a smaller learning rate, or a bound `clip_norm` on the gradient")
    )


def _line(curve: np.ndarray) -> tuple[float, float]:
    """Slope of the line through a curve, and the standard deviation about it, at least that of rounding."""
    slope, start = np.polyfit(np.arange(len(curve)), curve, 1)
    about = curve - start - slope * np.arange(len(curve))
    return slope, max(about.std(ddof=2), 1e-6 * np.abs(curve).max())


_LAST = 10
