"""What does a training step cost, against a loop written by hand and against Pyro's own example?

    python experiments/benchmarks/training_step.py --rounds 25 --steps 30

Three trainings of one VAE, an MLP 784-400-50 with a Bernoulli likelihood and batches of 128, on a CPU, on
random binary data of MNIST's shape. They take turns in one process, `--steps` steps a round, and the medians
over the rounds are compared, so that whatever else the machine does falls on all three alike:

* ``ppl_vae``: `fit` as it comes, everything it does between two calls of a callback: Pyro's validation, the
  check for values that are not finite, the history's terms, the best weights kept.
* ``by hand``: tensors in memory, fused Adam, the KL in closed form, `binary_cross_entropy_with_logits`
  summed; no Pyro, no checks.
* ``Pyro's example``: the recipe of examples/vae/vae.py. Kept: its encoder and decoder (softplus, exp for the
  scale, sigmoid in the decoder, hidden_dim=400, z_dim=50), `pyro.module`, `plate`, `to_event`,
  `pyro.optim.Adam` with lr=1e-3, `SVI` with `Trace_ELBO`, and a shuffling `DataLoader` without workers over
  data in memory. Changed: batches of 128, not 256, and ``validate_args=False`` left out, as the data are
  binary: validation is on in both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ppl_vae import DataSpec, Domain, build
from ppl_vae.training import State, fit

BATCH, HIDDEN, LATENT, PIXELS = 128, 400, 50, 784


class ByHand(nn.Module):
    """The same network, the loss written out."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))

    def forward(self, x: Tensor) -> Tensor:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        z = loc + log_scale.exp() * torch.randn_like(loc)
        kl = 0.5 * (loc.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum()
        return F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum") + kl


def by_hand(x: Tensor) -> Iterator[None]:
    vae = ByHand()
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    while True:
        total = 0.0
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = vae(x[rows])
            loss.backward()
            optimizer.step()
            total += loss.item()
        yield


class PyroEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = (
            nn.Linear(PIXELS, HIDDEN),
            nn.Linear(HIDDEN, LATENT),
            nn.Linear(HIDDEN, LATENT),
        )
        self.softplus = nn.Softplus()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.softplus(self.fc1(x.reshape(-1, PIXELS)))
        return self.fc21(hidden), torch.exp(self.fc22(hidden))


class PyroDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21 = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, PIXELS)
        self.softplus, self.sigmoid = nn.Softplus(), nn.Sigmoid()

    def forward(self, z: Tensor) -> Tensor:
        return self.sigmoid(self.fc21(self.softplus(self.fc1(z))))


class PyroExample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = PyroEncoder(), PyroDecoder()

    def model(self, x: Tensor) -> Tensor:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = torch.zeros(x.shape[0], LATENT), torch.ones(x.shape[0], LATENT)
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder(z)
            pyro.sample("obs", dist.Bernoulli(loc_img).to_event(1), obs=x.reshape(-1, PIXELS))
            return loc_img

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))


def pyro_example(x: Tensor) -> Iterator[None]:
    vae = PyroExample()
    loader = DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=BATCH, shuffle=True)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), loss=Trace_ELBO())
    while True:
        total = 0.0
        with pyro.get_param_store().scope():
            for batch, _ in loader:
                total += svi.step(batch)
        yield


def ours(x: Tensor, rounds: int, between: Callable[[], None]) -> Iterator[float]:
    """Seconds of each epoch of `fit`; `between` runs after each, outside the clock."""
    vae = build(DataSpec((PIXELS,), Domain("binary")), latent_dim=LATENT)
    clock: list[tuple[float, float]] = []  # (end of an epoch, start of the next)

    def pause(state: State) -> None:
        end = time.perf_counter()
        between()
        clock.append((end, time.perf_counter()))

    fit(vae, x, epochs=rounds + 1, batch_size=BATCH, device="cpu", callbacks=[pause])
    for (_, start), (end, _) in pairwise(clock):
        yield end - start


def main(rounds: int, steps: int) -> pd.DataFrame:
    """Median milliseconds a step of each, and the ratios to `fit`."""
    torch.manual_seed(0)
    x = torch.rand(steps * BATCH, PIXELS).round()
    times: dict[str, list[float]] = {"by hand": [], "Pyro's example": []}
    others = {"by hand": by_hand(x), "Pyro's example": pyro_example(x)}

    def others_turn() -> None:
        for name, training in others.items():
            start = time.perf_counter()
            next(training)
            times[name].append(time.perf_counter() - start)

    times = {"ppl_vae": list(ours(x, rounds, others_turn)), **{name: t[1:] for name, t in times.items()}}
    table = pd.DataFrame({name: pd.Series(t) * 1000 / steps for name, t in times.items()})
    result = table.quantile([0.5, 0.25, 0.75]).T.set_axis(["median", "lower quartile", "upper quartile"], axis=1)
    result["ppl_vae / it"] = result.loc["ppl_vae", "median"] / result["median"]
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Milliseconds of a training step.")
    parser.add_argument("--rounds", type=int, default=25, help="rounds the medians are over")
    parser.add_argument("--steps", type=int, default=30, help="steps of each training in a round")
    args = parser.parse_args()
    print(f"milliseconds a step; {args.rounds} rounds of {args.steps} steps, {torch.get_num_threads()} threads")
    print(main(args.rounds, args.steps).round(2).to_string())
