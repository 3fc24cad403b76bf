"""Training: `pyro.infer.SVI` with an ELBO, an epoch at a time."""

from __future__ import annotations

import copy
import math
import platform
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro.infer
import torch
from pyro.infer import ELBO, Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from ppl_vae import objectives, traces
from ppl_vae.isolation import isolated
from ppl_vae.objectives import Beta, Constant
from ppl_vae.training.batches import Batch, Batches, batches, split_of
from ppl_vae.training.checkpoint import Checkpoint, load_weights, weights, write_json
from ppl_vae.training.optim import NamedOptim

__all__ = ["Fit", "State", "fit"]

Callback = Callable[["State"], bool | None]


@dataclass(frozen=True)
class Fit:
    """What a training did.

    Attributes
    ----------
    history
        Indexed by epoch, from 1; a column `train_` and `validation_` of each of `elbo`, `reconstruction` and
        `kl_<site>`, in nats per datum, and `beta`, `learning_rate` and `seconds`.
    best_epoch
        The epoch whose weights were kept.
    stopped
        Why it ended: ``"epochs"``, ``"patience"`` or ``"callback"``.
    run
        The run folder, if there is one.
    """

    history: pd.DataFrame
    best_epoch: int
    stopped: str
    run: Path | None

    def __repr__(self) -> str:
        best = self.history.loc[self.best_epoch]
        which = "validation_elbo" if "validation_elbo" in best else "train_elbo"
        return (
            f"Fit({len(self.history)} epochs, stopped by {self.stopped}; kept epoch {self.best_epoch}: "
            f"{which.replace('_', ' ')} {best[which]:.3f} nats per datum)"
        )


@dataclass
class State:
    """Where a training stands at the end of an epoch; what a callback sees.

    Attributes
    ----------
    epoch
        Epochs done.
    step
        Batches done.
    history
        One dict an epoch, the newest last.
    best_epoch, best_elbo
        The epoch with the best ELBO so far (on validation data where there are any), and its value.
    program
        What is being trained.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_elbo: float = -math.inf
    waited: int = 0
    program: Any = None

    def plain(self) -> dict[str, Any]:
        """What is stored."""
        return {k: v for k, v in vars(self).items() if k != "program"}


def fit(
    program: Any,
    data: Any,
    *,
    validation: Any = None,
    epochs: int = 100,
    batch_size: int = 128,
    objective: ELBO | type[ELBO] = Trace_ELBO,
    beta: float | Beta = 1.0,
    optimizer: Callable[[list[Tensor]], Optimizer] = partial(Adam, lr=1e-3, fused=True),
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
    clip_norm: float | None = None,
    patience: int | None = None,
    seed: int = 0,
    device: str = "auto",
    run: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = 1,
    callbacks: Sequence[Any] = (),
    progress: bool = True,
) -> Fit:
    """Train a VAE, or any program, in place, by `pyro.infer.SVI`; the best weights are kept.

    Nothing global changes: random states, train/eval modes and Pyro's parameter store are as before.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    data
        A data set with `.train` and `.validation`; or training data alone: a `Split`, a tensor x (n, *x_shape), a
        tuple (x, *context), a `DataLoader` or any iterable of batches `(x, *context)`.
    validation
        Validation data, in any of these forms; by default the data set's.
    epochs
        Passes over the data.
    batch_size
        Data a batch, for data in memory.
    objective
        A Pyro ELBO, or a class of one.
    beta
        Weight of the KL: a number, or a warm-up such as `objectives.Linear(epochs=10)`. The history is of the ELBO,
        at beta = 1, all the same.
    optimizer
        Makes a torch optimizer of a list of parameters.
    schedule
        Makes a learning-rate schedule of the optimizer and the number of steps; it is stepped after every batch.
    clip_norm
        Largest norm of the gradient.
    patience
        Stop after so many epochs without a better validation ELBO, counted from the end of the warm-up.
    seed
        Seed of everything random in the training; not of the weights, which are there already.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``; the program stays there.
    run
        Folder for configuration, history and checkpoints.
    resume
        Go on from the checkpoint in `run`, if there is one; the result is bit for bit that of a training never
        interrupted (on a CPU).
    checkpoint_every
        Epochs between checkpoints.
    callbacks
        Called at the end of every epoch with the `State`: functions, or objects with `on_epoch_end`; a true answer
        stops the training.
    progress
        Show a progress bar, where there is a terminal.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        For a combination that would print a wrong number, for data outside the likelihood's support, for a run
        folder that holds another training.
    FloatingPointError
        If a loss or gradient is not finite, naming what went first; the weights are those of the step before, and
        the last checkpoint is intact.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(train=256, validation=64)
    >>> vae = build(digits, latent_dim=2)
    >>> result = fit(vae, digits, epochs=3, seed=0)
    >>> bool(result.history.validation_elbo[3] > result.history.validation_elbo[1])
    True
    """
    training = _Training(program, data, validation, epochs, batch_size, objective, beta, seed, device)
    with isolated(program, seed):
        training.prepare(optimizer, schedule, clip_norm)
        folder = None if run is None else Path(run)
        if folder is not None:
            training.open(folder, resume)
        elif resume:
            raise ValueError("resume expects a run folder to go on from, got run=None; give run=")
        stopped = training.loop(patience, checkpoint_every, callbacks, progress)
        load_weights(program, training.best)
    state = training.state
    return Fit(pd.DataFrame(state.history).set_index("epoch"), state.best_epoch, stopped, folder)


class _Training:
    """The parts of one training, put together once and stepped."""

    def __init__(
        self,
        program: Any,
        data: Any,
        validation: Any,
        epochs: int,
        batch_size: int,
        objective: ELBO | type[ELBO],
        beta: float | Beta,
        seed: int,
        device: str,
    ) -> None:
        if not isinstance(program, nn.Module):
            raise TypeError(
                f"fit expects a module with .model and .guide, got {type(program).__name__}; "
                "make one of two Pyro functions: Program(model, guide)"
            )
        if epochs < 1:
            raise ValueError(f"fit expects one epoch or more, got {epochs}; give epochs=1 or more")
        self.program = program
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.beta: Beta = Constant(beta) if isinstance(beta, int | float) else beta
        self.objective = objective() if isinstance(objective, type) else copy.copy(objective)
        self.device = _device(device)
        program.to(self.device)
        dtype = next((p.dtype for p in program.parameters()), torch.get_default_dtype())
        train = getattr(data, "train", data)
        held_out = getattr(data, "validation", None) if validation is None else validation
        self.sources = [train, held_out]
        self.train = batches(train, batch_size, self.device, dtype)
        self.validation = None if held_out is None else batches(_fixed(held_out), 1000, self.device, dtype)
        self.state = State(program=program)
        self.checkpoint: Checkpoint | None = None
        self.best: dict[str, Tensor] = {}
        self.best_is_new = True
        self.enumerated = False
        self.point = False

    def prepare(
        self,
        optimizer: Callable[[list[Tensor]], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler] | None,
        clip_norm: float | None,
    ) -> None:
        """Check the first batch, and make what is stepped."""
        with torch.random.fork_rng(devices=_gpus(self.device)), _rewound(self.train):
            first = next(iter(self.train))
        self._check(first)
        named = [(name, p) for name, p in self.program.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError("fit expects parameters to train, got none that require a gradient; unfreeze some")
        self.optim = NamedOptim(named, optimizer, clip_norm)
        num_steps = self.epochs * len(self.train)
        if schedule is not None and num_steps == 0:
            raise ValueError("a schedule expects data of known length, got an iterable without one; give it a __len__")
        self.schedule = None if schedule is None else schedule(self.optim.optimizer, num_steps)
        self.svi = pyro.infer.SVI(
            self.program.model, self.program.guide, self.optim, self.objective.loss, loss_and_grads=self._loss_and_grads
        )
        self.sums: dict[str, Tensor] = {}
        self.best = weights(self.program)

    def _check(self, batch: Batch) -> None:
        with torch.no_grad(), torch.random.fork_rng(devices=_gpus(self.device)):
            model, guide = traces.pair(
                self.program, batch.x, *batch.context, mask=batch.mask, beta=self.beta(0, 1)
            )
        where = traces.check_pair(model, guide, len(batch.x))
        objectives.check(self.objective, model, guide)
        own = {id(p) for p in self.program.parameters()}
        stray = [n for t in (guide, model) for n, s in _params(t).items() if id(s["value"].unconstrained()) not in own]
        if stray:
            raise ValueError(
                f"fit expects a program that owns its parameters, got {stray[0]!r} in Pyro's global store; "
                "use Program(model, guide), which keeps them"
            )
        self.enumerated = any(map(traces.enumerated, traces.latents(guide).values()))
        self.point = any(map(traces.singular, traces.latents(guide).values()))
        if math.isinf(self.objective.max_plate_nesting):  # else Pyro finds it by one more run, and logs that
            vectorized = self.objective.vectorize_particles and self.objective.num_particles > 1
            self.objective.max_plate_nesting = where.depth + vectorized

    def open(self, folder: Path, resume: bool) -> None:
        """Begin a run folder, or go on with the one that is there."""
        self.checkpoint = Checkpoint(folder)
        config = self._config()
        if not self.checkpoint.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "config.json", config)
            self._store()
            return
        if not resume:
            raise ValueError(
                f"fit expects a run folder without a training, got {str(folder)!r}, which holds one; "
                "pass resume=True to go on with it, or choose another folder"
            )
        reason = self.train.not_resumable()
        if reason is not None:
            raise ValueError(f"an exact resume expects data it can go on with, got data of which {reason}")
        self._restore(config)

    def loop(self, patience: int | None, checkpoint_every: int, callbacks: Sequence[Any], progress: bool) -> str:
        """Train until something says stop; says what did."""
        state, per_epoch = self.state, len(self.train)
        total = self.epochs * per_epoch or None
        ended = "epochs"
        with tqdm(total=total, initial=state.step, unit="batch", disable=None if progress else True) as bar:
            while state.epoch < self.epochs:
                self._epoch(bar)
                row = state.history[-1]
                better = row.get("validation_elbo", math.nan)
                better = row["train_elbo"] if self.validation is None else better
                if self.validation is None or better > state.best_elbo:
                    state.best_elbo, state.best_epoch, state.waited = better, state.epoch, 0
                    self.best, self.best_is_new = weights(self.program), True
                elif state.epoch > self.beta.epochs:
                    state.waited += 1
                bar.set_postfix(elbo=f"{better:.2f}", beta=f"{row['beta']:.2g}")
                stop = [bool(getattr(c, "on_epoch_end", c)(state)) for c in callbacks]
                done = any(stop) or (patience is not None and state.waited >= patience)
                if self.checkpoint and (done or state.epoch % checkpoint_every == 0 or state.epoch == self.epochs):
                    self._store()
                if done:
                    ended = "callback" if any(stop) else "patience"
                    break
        return ended

    def _epoch(self, bar: Any) -> None:
        state = self.state
        start, seen, loss = time.perf_counter(), 0, 0.0
        self.program.train()
        self.sums = {}
        per_epoch = len(self.train) or state.step or 1
        for number, batch in enumerate(self.train):
            beta = self.beta(state.step, per_epoch)
            self.where = f"epoch {state.epoch + 1}, batch {number + 1}"
            loss += self._step(batch, beta)
            seen += len(batch.x)
            state.step += 1
            bar.update()
        state.epoch += 1
        row: dict[str, float] = {"epoch": state.epoch, **self._row("train", self.sums, seen, loss)}
        if self.validation is not None:
            row |= self._validate()
        rate = self.optim.optimizer.param_groups[0]["lr"]
        row |= {"beta": beta, "learning_rate": float(rate), "seconds": time.perf_counter() - start}
        state.history.append(row)

    def _step(self, batch: Batch, beta: float) -> float:
        try:
            loss = self.svi.step(batch.x, *batch.context, **traces.call(batch.mask, beta))
        except FloatingPointError as error:
            raise FloatingPointError(
                f"training expects finite losses and gradients, but {error} is not finite in {self.where}; lower the "
                "learning rate, set clip_norm, or look at the data of that batch"
            ) from None
        except ValueError as error:
            if "invalid values" not in str(error):
                raise
            raise FloatingPointError(
                f"training expects finite parameters, but in {self.where} a distribution was given others: "
                f"{str(error).splitlines()[0]}; lower the learning rate, or set clip_norm"
            ) from error
        if self.schedule is not None:
            self.schedule.step()
        return loss

    def _loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The objective's own, watched: its terms are added up, and nothing that is not finite gets any further."""
        with _watched(self.objective) as seen:
            loss = self.objective.loss_and_grads(model, guide, *args, **kwargs)
        if not math.isfinite(loss):
            raise FloatingPointError(_culprit(seen) or "the loss")
        if not self.enumerated:
            with torch.no_grad():
                for pair in seen:
                    for name, value in _terms(*pair).items():
                        self.sums[name] = self.sums.get(name, 0) + value / self.objective.num_particles
        return loss

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        assert self.validation is not None
        sums: dict[str, Any] = {}
        seen, loss = 0, 0.0
        self.program.eval()
        with torch.random.fork_rng(devices=_gpus(self.device)):
            torch.manual_seed(self.seed)  # the same draws every epoch, so that epochs differ by their weights alone
            for batch in self.validation:
                seen += len(batch.x)
                args = (batch.x, *batch.context)
                if self.enumerated:
                    loss += self.objective.loss(self.program.model, self.program.guide, *args, **traces.call(batch.mask))
                    continue
                for name, value in _terms(*traces.pair(self.program, *args, mask=batch.mask)).items():
                    sums[name] = sums.get(name, 0) + value
        return self._row("validation", sums, seen, loss)

    def _row(self, prefix: str, sums: Mapping[str, Any], seen: int, loss: float) -> dict[str, float]:
        if not sums:  # enumerated sites have no one draw to take terms from
            return {f"{prefix}_elbo": -loss / seen}
        means = {name: float(value) / seen for name, value in sums.items()}
        elbo = means["reconstruction"] - sum(v for name, v in means.items() if name.startswith("kl_"))
        if self.point:  # a point mass has no KL: what is left is log p(x, z) at the code
            means = {name: v for name, v in means.items() if not name.startswith("kl_")}
        return {f"{prefix}_elbo": elbo, **{f"{prefix}_{name}": v for name, v in means.items()}}

    def _config(self) -> dict[str, Any]:
        splits = [split_of(s) for s in self.sources if s is not None]
        packages = ("ppl_vae", "torch", "pyro-ppl", "arviz", "numpy")
        return {
            "recipe": getattr(self.program, "recipe", None),
            "formula": repr(self.program).splitlines()[:2],
            "fit": {
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "objective": _plain(self.objective),
                "beta": repr(self.beta),
                "optimizer": _optimizer_name(self.optim),
                "schedule": None if self.schedule is None else type(self.schedule).__name__,
                "clip_norm": self.optim.clip_norm,
                "seed": self.seed,
                "device": str(self.device),
            },
            "data": [None if s is None else {**s.provenance, "checksum": s.checksum} for s in splits],
            "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        }

    def _store(self) -> None:
        assert self.checkpoint is not None
        optim = self.optim.get_state()
        plain = {
            **self.state.plain(),
            "optimizer": {"values": optim["values"], "groups": optim["groups"]},
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "python_random": list(random.getstate()[1]) + [random.getstate()[2]],
        }
        last = {f"weights|{n}": t for n, t in weights(self.program).items()}
        last |= {f"optimizer|{n}": t.detach().cpu().contiguous() for n, t in optim["tensors"].items()}
        last |= {f"random|{n}": t for n, t in _random_states(self.device).items()}
        loader = self.train.state()
        if loader is not None:
            last["random|loader"] = loader
        self.checkpoint.write(plain, last, self.best if self.best_is_new else None)
        self.best_is_new = False
        rows = pd.DataFrame(self.state.history)
        with open(self.checkpoint.folder / "history.jsonl.tmp", "w") as file:
            rows.to_json(file, orient="records", lines=True, double_precision=15)
        (self.checkpoint.folder / "history.jsonl.tmp").replace(self.checkpoint.folder / "history.jsonl")

    def _restore(self, config: Mapping[str, Any]) -> None:
        assert self.checkpoint is not None
        stored = _read_config(self.checkpoint.folder)
        different = {
            f"{part}.{key}" if part == "fit" else part: (old, new)
            for part in ("recipe", "fit", "data")
            for key, old, new in _differences(stored[part], config[part])
            if key != "epochs" or self.schedule is not None
        }
        if different:
            name, (old, new) = next(iter(different.items()))
            raise ValueError(
                f"resume expects the training that the folder holds, got another {name}: {new!r}, not {old!r}; "
                "call fit with what config.json says, or choose another folder"
            )
        state, tensors = self.checkpoint.read(), self.checkpoint.tensors("last")
        part = partial(_part, tensors)
        load_weights(self.program, part("weights"))
        self.optim.set_state({"tensors": part("optimizer"), **state["optimizer"]})
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.best, self.best_is_new = self.checkpoint.tensors("best"), False
        for name in self.state.plain():
            setattr(self.state, name, state[name])
        states = part("random")
        if "loader" in states:
            self.train.set_state(states.pop("loader"))
        _set_random_states(states, state["python_random"])


def _terms(model: Trace, guide: Trace) -> dict[str, Tensor]:
    """Reconstruction and KL of each site, summed over the data and particles of a draw, in nats."""
    q = traces.latents(guide)
    return {
        "reconstruction": sum((traces.total(s) for s in traces.observed(model).values()), torch.zeros(())),
        **{f"kl_{name}": traces.total(site) - traces.total(model.nodes[name]) for name, site in q.items()},
    }


def _culprit(seen: Sequence[tuple[Trace, Trace]]) -> str | None:
    for model, guide in seen:
        named = [(f"log q of site {n!r}", s) for n, s in traces.latents(guide).items()]
        named += [(f"log p of latent site {n!r}", s) for n, s in traces.latents(model).items()]
        named += [(f"the log-likelihood of site {n!r}", s) for n, s in traces.observed(model).items()]
        for name, site in named:
            if not traces.total(site).isfinite():
                return name
    return None


@contextmanager
def _watched(objective: ELBO) -> Iterator[list[tuple[Trace, Trace]]]:
    """The pairs of traces that an objective draws in the block: its terms, without computing them again."""
    seen: list[tuple[Trace, Trace]] = []
    draw = getattr(objective, "_get_trace", None)
    if draw is None:
        yield seen
        return

    def watched(*args: Any, **kwargs: Any) -> tuple[Trace, Trace]:
        seen.append(draw(*args, **kwargs))
        return seen[-1]

    objective._get_trace = watched  # shadows the method on this instance alone
    try:
        yield seen
    finally:
        del objective._get_trace


@contextmanager
def _rewound(source: Batches) -> Iterator[None]:
    """Put a loader's own random numbers back after looking at its first batch."""
    state = source.state()
    yield
    if state is not None:
        source.set_state(state)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _gpus(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []


def _fixed(data: Any) -> Any:
    split = split_of(data)
    return data if split is None else split.fixed()


def _params(trace: Trace) -> dict[str, Any]:
    return {name: site for name, site in trace.nodes.items() if site["type"] == "param"}


def _plain(objective: ELBO) -> str:
    settings = {k: v for k, v in vars(objective).items() if k in ("num_particles", "nats", "alpha")}
    return f"{type(objective).__name__}({', '.join(f'{k}={v}' for k, v in settings.items())})"


def _optimizer_name(optim: NamedOptim) -> str:
    return type(optim.optimizer).__name__


def _read_config(folder: Path) -> dict[str, Any]:
    from ppl_vae.training.checkpoint import read_json

    return read_json(folder / "config.json")


def _differences(old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from ((k, old.get(k), new.get(k)) for k in {**old, **new} if old.get(k) != new.get(k))
    elif old != new:
        yield "", old, new


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.partition("|")[2]: t for key, t in tensors.items() if key.startswith(f"{name}|")}


def _random_states(device: torch.device) -> dict[str, Tensor]:
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(keys.astype(np.int64)),
        "numpy_rest": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(states: Mapping[str, Tensor], python: Sequence[Any]) -> None:
    torch.set_rng_state(states["torch"])
    position, has_gauss, cached = states["numpy_rest"].tolist()
    keys = states["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached))  # noqa: NPY002
    random.setstate((3, tuple(python[:-1]), python[-1]))
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
