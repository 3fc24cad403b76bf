"""Train a program by stochastic variational inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ppl_vae.arguments import Count, Positive, Seed
from ppl_vae.calls import verb
from ppl_vae.isolation import isolated, using_threads
from ppl_vae.libraries import pd
from ppl_vae.modelled import Modelled
from ppl_vae.objectives import BetaSchedule, Constant
from ppl_vae.products import check_bfloat16
from ppl_vae.rows import Rows
from ppl_vae.training.batches import Batches, batches, loader_of, split_of
from ppl_vae.training.checks import as_elbo, check_mask
from ppl_vae.training.device import chosen_device
from ppl_vae.training.fitted import Fit
from ppl_vae.training.loop import Training
from ppl_vae.training.optim import NamedOptim, made_schedule
from ppl_vae.training.processes import Processes
from ppl_vae.training.resume import stored
from ppl_vae.training.run_folder import folder_path
from ppl_vae.training.settings import Settings
from ppl_vae.training.state import Callback, EpochEnd

__all__ = ["fit"]


@verb
def fit(
    program: Modelled,
    data: Any,
    *,
    validation: Any = None,
    epochs: Count = 100,
    batch_size: Count = 128,
    objective: ELBO | type[ELBO] = Trace_ELBO,
    beta: float | BetaSchedule = 1.0,
    optimizer: Callable[[list[Tensor]], Optimizer] = partial(Adam, lr=1e-3, fused=True),  # noqa: B008
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
    clip_norm: Positive | None = None,
    encoder_steps: Count = 1,
    patience: Count | None = None,
    seed: Seed = 0,
    device: str = "auto",
    run: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: Count = 1,
    callbacks: Sequence[Callback | Any] = (),
    progress: bool | None = None,
    compile: Literal["auto"] | bool | None = None,
    precision: Literal["bf16"] | None = None,
    threads: Count | None = None,
) -> Fit:
    """Train a VAE, or any program, in place, by stochastic variational inference; the best weights are kept.

    Best are those of the epoch with the highest ELBO on validation data (the last epoch where there are none), whatever
    the objective: one that is not the ELBO (`InfoVAE`, `Contractive`, `Commitment`, `FreeBits`) decides neither on that
    nor on `patience`.

    Nothing global changes: random states, train/eval modes and Pyro's parameter store are as before.

    Where torch's process group is initialized, by `torchrun` say, all its processes train the program together, and all
    must call `fit` alike: each has some rows of every batch, gradients are summed, and the result is that of one
    process up to rounding. The first process writes `run`; callbacks are called in each, and one that calls `evaluate`
    must do so in all, or it waits for the timeout of the process group.

    Where thousands of steps are to come, they are replayed as a graph of the operations of one of them,
    with the same numbers to the bit; `Fit.replayed` counts them, and `compile` compiles them. The Python code of model
    and guide then runs in the first step of every epoch alone, which is compared with the graph: what it prints or
    keeps elsewhere is not repeated. Where its choices depend on values, or anything that it uses changes, all of it
    runs in every step, and `Fit.not_replayed` says why.

    Pyro's validation is on in the first steps and in the first of every epoch. The others check that the loss and
    the gradient are finite and the data in their support; one in which they are not is repeated with validation.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    data
        A data set with `.train` and `.validation`; or training data alone: a `Split`, a tensor or array x
        (n, *x_shape), a tuple (x, *context), a map-style data set of torch, a `DataLoader` or any iterable of batches
        x, `(x, *context)`, with a mask `Batch`, or a mapping with the keys x, context and mask; y is left out.
    validation
        Validation data, in any of these forms; by default the data set's.
    epochs
        Passes over the data.
    batch_size
        Data a batch, of all processes together, for data in memory; a last one of a single datum joins the one before
        it, where the program cannot be trained on one datum (batch norm).
    objective
        A Pyro ELBO with one loss, or a class of one that needs no arguments. The default estimates the KL at the draw
        of z; `objectives.TraceMeanField_ELBO` has it in closed form where there is one: a less noisy gradient.
    beta
        Weight of the KL: a number, or a warm-up such as `objectives.Linear(epochs=10)`. The history is of the
        ELBO, at beta = 1, all the same.
    optimizer
        Makes a torch optimizer of a list of parameters, all of them; none that runs the program itself (LBFGS).
    schedule
        Makes a learning-rate schedule of the optimizer and the number of steps; it is stepped after every
        batch. `ReduceLROnPlateau` is stepped once an epoch, from the end of the warm-up, with minus the ELBO (with the
        ELBO in its mode "max"), on validation data where there are some.
    clip_norm
        Largest norm of the gradient.
    encoder_steps
        Steps, one a batch, for each one that moves all parameters; the others move q's alone. They end early where the
        mean ELBO of ten of them is no higher than that of the ten before (He et al. 2019, arXiv:1901.05534): 100 is
        their algorithm. An epoch is one pass over the data whatever this is, and moves the model that much less. It is
        refused where q depends on all that is trained, as a `Refined` one does.
    patience
        Stop after so many epochs without a better validation ELBO, of whatever objective, counted from the end of the
        warm-up.
    seed
        Seed of everything random in the training; not of the weights, which are there already.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``; the program stays there.
    run
        Folder for configuration, history and checkpoints, each with its SHA-256; no other process can write to it
        while the training lasts.
    resume
        Resume from the checkpoint in `run`, if there is one; on a CPU the result is bit for bit that of a
        training never interrupted, for data in memory or from a map-style `DataLoader`. Another `patience`
        or `checkpoint_every`, and without a schedule more epochs than before, are recorded in its place. Refused are
        other data, settings, classes and functions, as far as they can be seen: of a `DataLoader` 64 items and the
        tensors and arrays that its data set keeps as attributes, of code its instructions and constants.
    checkpoint_every
        Epochs between checkpoints.
    callbacks
        Called at the end of every epoch with the `State`: functions, or objects with `on_epoch_end`; a true
        answer stops the training. What they keep for themselves is not stored.
    progress
        Whether to show a progress bar; by default where the output is a terminal.
    compile
        `False`: model and guide run in every step. `None`: where at least 2,000 steps are to come they are replayed as
        a graph. `True`: the graph, with the step of Adam, AdamW, SGD or RMSprop in it, is compiled by torch's inductor,
        which needs a C++ compiler and some tens of seconds (`Fit.compile_seconds`; less where it finds what it compiled
        before); steps are those of the others up to rounding, with the same random numbers, and so is what is resumed.
        ``"auto"``: that, once the steps to come take five minutes or more. What cannot be compiled, and batches of a
        size that is rare, are stepped as by `None`; `Fit.not_compiled` says why. On a GPU an error in a compiled step
        is raised up to 50 steps later, or at the end of the epoch; its message names the batch.
    precision
        ``"bf16"``: linear maps and convolutions of a training step are computed in bfloat16, which CPUs with
        AVX512-BF16 or AMX and GPUs do faster; parameters, log densities and sums stay in float32. Scores on validation
        data are in float32. By default everything is in the dtype of the parameters.
    threads
        Threads of this process while it trains, as many as before by default. Several processes of a machine, of one
        training or of several, want its cores divided by their number.

    Returns
    -------
    Fit

    Warns
    -----
    UserWarning
        For ``"bf16"`` on a device that is not faster with it; for several processes whose threads are more than the
        cores, or at most half of them; for parameters that no gradient reached in the first
        epoch, and for tensors that ask for a gradient, are used, and are not the program's: both stay as they are.

    Raises
    ------
    TypeError
        For a program that is no module, an objective that is no ELBO, data that are neither tensors nor
        batches of them, or a callback whose answer is neither true nor false.
    ValueError
        If no gradient reaches any parameter; for ``"bf16"`` and parameters that are not in float32; for an optimizer
        that leaves some out, or runs the program itself; for a schedule that ends too early; for a combination
        that would print a wrong number, and one that several processes cannot train alike (batch norm, an MMD, draws by
        rejection), for data outside the likelihood's support, for a mask that does not fit x; for a run folder that
        holds another training, or a changed file, or that another process is writing to; for a stored training whose
        objective does not keep what it was made with.
    FileNotFoundError
        If the run folder, or a file of the training it holds, is gone.
    OSError
        If the run folder cannot be written to: a full disk.
    FloatingPointError
        If a loss or gradient is not finite, naming what went first, the epoch and the batch. As after any
        interruption the best weights so far are kept, and the last checkpoint is intact.
    RuntimeError
        If another process of the process group ended, or does not answer.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(train=256, validation=64)
    >>> vae = build(digits, latent_dim=2)
    >>> result = fit(vae, digits, epochs=3, seed=0)
    >>> bool(result.history.validation_elbo[3] > result.history.validation_elbo[1])
    True
    """
    _check_call(program, callbacks, run, resume)
    processes, folder = Processes.checked(threads), None if run is None else folder_path(run, "fit")
    here = chosen_device(processes.device(device))
    check_bfloat16(program.parameters(), precision, here)
    kept = (clip_norm, patience, checkpoint_every, seed, here, precision, encoder_steps)
    settings = Settings(epochs, batch_size, as_elbo(objective), _as_schedule(beta), *kept)
    sources = _sources(data, validation, batch_size)
    train, held_out = _batches(program, sources, settings, processes, schedule)
    make_optim = partial(_optim, program, optimizer, schedule, clip_norm, epochs, train)
    processes.same_weights(program.to(here))
    with using_threads(threads), isolated(program, seed):
        training = Training(program, train, held_out, settings, make_optim, processes, compile)
        with training.best_kept(), stored(folder, training, sources, callbacks, resume) as write:
            training.run(callbacks, progress, write)
    return _result(training, folder)


def _as_schedule(beta: float | BetaSchedule) -> BetaSchedule:
    return beta if isinstance(beta, BetaSchedule) else Constant(beta)


def _result(training: Training, folder: Path | None) -> Fit:
    state, steps = training.state, training.steps
    return Fit(
        pd.DataFrame(state.history).set_index("epoch"),
        state.best_epoch,
        state.stopped,
        folder,
        replayed=steps.replays,
        not_replayed=steps.reason,
        compiled=steps.compiled,
        not_compiled=steps.why_not_compiled(),
        compile_seconds=steps.compiler.seconds,
    )


def _sources(data: Any, validation: Any, batch_size: int) -> tuple[Any, Any]:
    """Training and validation data; of the latter there may be none."""
    held_out = getattr(data, "validation", None) if validation is None else validation
    return loader_of(getattr(data, "train", data), batch_size), loader_of(held_out, 1000, shuffle=False)


def _check_call(program: Modelled, callbacks: Sequence[Any], run: str | Path | None, resume: bool) -> None:
    if strange := [c for c in callbacks if not callable(c.on_epoch_end if isinstance(c, EpochEnd) else c)]:
        raise TypeError(
            f"fit expects callbacks to be functions of the State, or to have on_epoch_end, got {strange[0]!r}; give "
            "such a function"
        )
    if any(p.is_inference() for p in program.parameters()):
        raise ValueError(
            "fit expects parameters that can be trained, got ones made under torch.inference_mode(); make the program "
            "outside of it"
        )
    if resume and run is None:
        raise ValueError("resume expects a run folder to go on from, got run=None; give run=")


def _batches(
    program: Modelled, sources: Sequence[Any], settings: Settings, processes: Processes, schedule: Any
) -> tuple[Batches, Batches | None]:
    """Batches of the training data and of the validation data, of which there may be none."""
    for source in sources:
        _check_masked(source)
    dtype = next((p.dtype for p in program.parameters()), torch.get_default_dtype())
    train = batches(sources[0], settings.batch_size, settings.device, dtype, processes=processes)
    _check_length(train, settings, schedule)
    if sources[1] is not None:
        held_out = batches(_fixed(sources[1]), 1000, settings.device, dtype, shuffle=False, processes=processes)
        return train, held_out
    if settings.patience is not None:
        raise ValueError("patience expects validation data to watch, got none; give validation=")
    return train, None


def _check_masked(data: Any) -> None:
    """Check the mask before anything is drawn: preprocessing that is pending uses it."""
    split = split_of(data)
    if split is not None and split.mask is not None and not isinstance(split.mask, Rows):
        check_mask(split.x, split.mask)


def _fixed(data: Any) -> Any:
    split = split_of(data)
    return data if split is None else split.fixed()


def _check_length(train: Batches, settings: Settings, schedule: Any) -> None:
    if len(train) == 0 and (schedule is not None or settings.beta.epochs > 0):
        raise ValueError(
            "a schedule and a warm-up expect data of known length, got an iterable without one; give it a __len__"
        )


def _optim(
    program: Modelled,
    optimizer: Callable[[list[Tensor]], Optimizer],
    schedule: Callable[[Optimizer, int], LRScheduler] | None,
    clip_norm: float | None,
    epochs: int,
    train: Batches,
) -> tuple[NamedOptim, LRScheduler | None]:
    """The optimizer of all parameters that require a gradient, and its schedule."""
    named = [(name, p) for name, p in program.named_parameters() if p.requires_grad]
    if not named:
        raise ValueError(
            "fit expects parameters to train, got none that require a gradient; unfreeze some, and give Program "
            "the networks that its functions call: Program(model, guide, *networks)"
        )
    optim = NamedOptim(named, optimizer, clip_norm)
    return optim, made_schedule(optim.optimizer, schedule, epochs * len(train))  # a dry run may have joined batches
