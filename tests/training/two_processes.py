"""What `test_processes.py` runs in each of two processes: the results of every case, as JSON and tensors, by rank.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29501 python two_processes.py FOLDER
"""

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ppl_vae import IAF, MLP, GaussianNoise, Program, VampPrior, build, compiled, data, evaluate, fit, objectives
from ppl_vae.training import steps
from ppl_vae.training.processes import Processes


class Stream(IterableDataset):
    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return iter(self.x)


class Normalized(MLP):
    """Batch norm before a perceptron."""

    def __init__(self, in_shape, out_shape):
        super().__init__(in_shape, out_shape)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, first, *context):
        return super().forward(self.norm(first), *context)


class Undeclared(objectives.InfoVAE):
    """An objective that does not say that it is no sum over data."""

    sums_over_data = True


def digits():
    return data.load("digits").binarize("dynamic").take(train=120, validation=41)


def x():
    return data.load("digits").binarize("threshold").train.x[:90].double()


CASES = {  # batches of 33: the rows of a batch are never the same number in both, and the last one is smaller
    "dynamic binarization": (digits, {}, {}),
    "IAF, VampPrior, particles": (
        digits,
        {"posterior": IAF, "prior": VampPrior},
        {"objective": objectives.IWAE(num_particles=3)},
    ),
    "dropout, corruption, clipping": (
        digits,
        {
            "encoder": lambda i, o: nn.Sequential(
                nn.Flatten(-3), nn.Dropout(0.2), nn.Linear(64, 6), nn.Unflatten(-1, o)
            ),
            "corruption": GaussianNoise,
        },
        {"clip_norm": 1.0},
    ),
    "loader": (lambda: DataLoader(TensorDataset(x()), 33, shuffle=True), {}, {}),
    "stream": (lambda: DataLoader(Stream(x()), 33), {}, {}),
}
GRAPHS = ("IAF, VampPrior, particles", "dropout, corruption, clipping", "loader")
EVALUATED = {
    "importance": ({}, {"seed": "any"}),
    "adaptive": ({}, {"method": "adaptive", "seed": 3, "num_rounds": 1, "num_temperatures": 2}),
}
REFUSED = {
    "batch norm": ({"encoder": Normalized}, {}),
    "MMD": ({}, {"objective": objectives.InfoVAE()}),
    "MMD, not declared": ({}, {"objective": Undeclared()}),
    "free bits": ({}, {"objective": objectives.FreeBits(2.0)}),
    "as many rows as particles": ({}, {"objective": objectives.IWAE(num_particles=10)}),  # 120 = 3 * 33 + 21
}


def trained(make, parts, settings, **more):
    """History and weights of a short training."""
    vae = build(digits(), latent_dim=3, seed=0, **parts).double()
    given = make()
    found = fit(vae, given, **{"epochs": 1, "batch_size": 33, "device": "cpu", "progress": False, **settings, **more})
    history = {name: found.history[name].tolist() for name in found.history if name != "seconds"}
    return {
        "history": history,
        "weights": {n: t.clone() for n, t in vae.state_dict().items()},
        "graphs": (found.replayed, found.compiled, found.not_replayed, found.not_compiled),
    }


def by_graphs(name, compile):
    """The same by steps that are replayed, or of which the gradients are graphs that a compiler would be given."""
    many, lowered = steps.MANY, compiled._lowered
    steps.MANY, compiled._lowered = 0, lambda graph, example: graph
    make, parts, settings = CASES[name]
    found = trained(make, parts, settings, epochs=6, compile=compile)
    steps.MANY, compiled._lowered = many, lowered
    return found


def late_by_graphs():
    """Why a training is refused whose ninth batch has a value out of bounds for the second process alone."""
    many, steps.MANY = steps.MANY, 0
    said = refusal({}, {}, lambda: late(0.5))
    steps.MANY = many
    return said


def of_two_dtypes(rank):
    """Sums of gradients of two dtypes, after a failure in the second process."""
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3, dtype=torch.float64))
    processes = Processes()
    for failed in (rank == 1, False):
        a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
        try:
            processes.sum_gradients([a, b], failed=failed)
        except FloatingPointError:
            assert rank == 0
    return [a.grad, b.grad]


def refusal(parts, settings, make=digits):
    try:
        trained(make, parts, settings)
    except (ValueError, FloatingPointError) as error:
        return str(error)
    return ""


def late(value):
    """Batches of ten rows, of the ninth of which the last row, which the second process has, holds this value."""
    rows = x()
    rows[89, 0, 0, 0] = value
    return [*rows.split(10)]


def evaluated(name):
    """The table of an evaluation, and what it says of all data; each process has some chunks of ten data."""
    parts, settings = EVALUATED[name]
    split = digits().validation
    vae = build(digits(), latent_dim=3, seed=1, **parts)
    rank = Processes().rank
    if settings.get("seed") == "any":
        settings = {**settings, "seed": rank}  # that of the first is used
    found = evaluate(vae, split, num_samples=30, max_rows=300, progress=False, **settings)
    table = found.per_datum.drop(columns=["method"], errors="ignore")
    return {
        "table": {column: torch.tensor(table[column].to_numpy(dtype=float)) for column in table},
        "unit_variance": found.unit_variance,
        "seed": found.seed,
        "said": found.adaptation,
    }


class Noisy(Program):
    """A model that draws random numbers of its own."""

    def model(self, x):
        torch.rand(())
        return super().model(x)


def compiled_scores():
    """The ELBO of each datum with the model as a graph of its own in each process, and what is said of that."""
    given, compiled._lowered = compiled._lowered, lambda graph, example: graph
    vae, split = build(digits(), latent_dim=3, seed=1), digits().train[:95]
    found = evaluate(vae, split, num_samples=30, max_rows=300, seed=0, progress=False, compile=True)
    compiled._lowered = given
    return {"elbo": torch.tensor(found.per_datum.elbo.to_numpy()), "said": {**found.compiled, "seconds": None}}


def not_evaluated():
    """Why an evaluation is refused: of a noisy model, and of data that one process alone has."""
    vae, x = build(digits(), latent_dim=3, seed=1), digits().validation.drawn().x
    said = []
    for program, given in ((Noisy(vae.model, vae.guide, vae), x), (vae, torch.cat([x[:10], x[10:20] + 0.5]))):
        try:
            evaluate(program, given, num_samples=30, max_rows=300, seed=0, progress=False)
        except (ValueError, RuntimeError) as error:
            said.append(str(error))
    return said


def killed(state):
    """A callback after which the second process is killed, in mid-epoch."""
    if state.epoch == 1 and Processes().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder):
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank = distributed.get_rank()
    torch.manual_seed(rank)  # whatever the state of the caller is
    found = {name: trained(*case) for name, case in CASES.items()}
    found["refused"] = {name: refusal(*case) for name, case in REFUSED.items()}
    found["refused"]["other data"] = refusal({}, {}, lambda: x()[rank:])
    for value in (0.5, torch.nan):
        found["refused"][f"a late {value}"] = refusal({}, {}, lambda value=value: late(value))
    found["graphs"] = {(name, compile): by_graphs(name, compile) for name in GRAPHS for compile in (None, True)}
    found["refused"]["a late 0.5, by graphs"] = late_by_graphs()
    found["two dtypes"] = of_two_dtypes(rank)
    found["evaluated"] = {name: evaluated(name) for name in EVALUATED}
    found["compiled"] = compiled_scores()
    found["not evaluated"] = not_evaluated()
    run = {"run": folder / "resumed"}
    trained(digits, {}, {}, epochs=1, **run)
    found["resumed"] = trained(digits, {}, {}, epochs=2, resume=True, **run)
    found["whole"] = trained(digits, {}, {}, epochs=2)
    stop = {"callbacks": [lambda state: rank == 1 and state.epoch == 1]}
    found["stopped"] = trained(digits, {}, {}, epochs=3, **stop)
    torch.save(found, folder / f"{rank}.pt")
    try:
        trained(digits, {}, {}, epochs=2, run=folder / "killed", callbacks=[killed])
    except RuntimeError as error:
        (folder / "said.txt").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
