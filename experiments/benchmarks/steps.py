"""What does a training step cost: ours called, replayed and compiled, by hand, in NumPyro, and with Pyro's SVI?

    python experiments/benchmarks/steps.py --out experiments/results/steps.json

Random binary images, which cost what MNIST's do; Adam with lr=1e-3; batches in memory, shuffled. Set-ups:

* ``mlp``: 784-400-50, N(0, I); ``gated``: 784-300-300-40, gated layers, VampPrior(500) where ``vamp``;
* ``flow``: mlp with a FlowPrior; ``iaf``: mlp with an IAF posterior; ``conv``: ConvEncoder and ConvDecoder, 32 latents.

Contenders, of one set-up with the same networks and initial weights:

* ``called``, ``replayed``, ``compiled``: `fit` with ``compile=False``, ``None`` and ``True``, all that it does between
  two callbacks;
* ``by hand``: plain torch, fused Adam, KL in closed form or at the draw as the set-up has it, no checks;
* ``numpyro``: an epoch under `jax.jit`, a loop over batches inside it; for ``conv`` one step a call, as XLA's
  convolutions are slow inside a loop on a CPU. Left out where it is not installed;
* ``pythae``: its `BaseTrainer` on its `VAE` with the same networks; ``mlp`` alone, and left out where not installed;
* ``products``: the matrix products of a step alone, forward and of both gradients: the limit. Not for ``conv``;
* ``pyro``: `SVI` with `pyro.optim.Adam` and `Trace_ELBO` on the same model and guide, batches of a `DataLoader`.

Each runs in a process of its own, on `--threads` cores, and waits while the others take their turn of `--steps`
steps. Milliseconds are of the process's CPU time for a step, and of the clock; medians over `--rounds` rounds, and the
median over rounds of the ratio to ``by hand``. The first two turns of each are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import results_file
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ppl_vae
from ppl_vae import DataSpec, Domain, build, fit

GATED = {"latent_dim": 40, "encoder": ppl_vae.GatedMLP, "decoder": ppl_vae.GatedMLP}
VAMP = partial(ppl_vae.VampPrior, num_components=500)
CONV = {"latent_dim": 32, "encoder": ppl_vae.ConvEncoder, "decoder": ppl_vae.ConvDecoder}
SETUPS: dict[str, dict[str, Any]] = {
    "mlp": {"latent_dim": 50},
    "gated": GATED,
    "vamp": {**GATED, "prior": VAMP},
    "flow": {"latent_dim": 50, "prior": ppl_vae.FlowPrior},
    "iaf": {"latent_dim": 50, "posterior": ppl_vae.IAF},
    "conv": CONV,
}
SHIFT, LOG_2_PI = math.log(math.e - 1), math.log(2 * math.pi)
Pause = Callable[[float, dict[str, Any]], bool]
"""Called between turns with the loss a datum and what else there is to say; true where it is time to end."""


def made(setup: str) -> ppl_vae.VAE:
    return build(DataSpec(_shape(setup), Domain("binary")), seed=0, **SETUPS[setup])


def images(setup: str, num: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(num, *_shape(setup), generator=generator) < 0.13).float()


def _shape(setup: str) -> tuple[int, ...]:
    return (1, 28, 28) if setup == "conv" else (784,)


# Ours, and Pyro's SVI on the same model and guide


def ours(setup: str, batch: int, x: Tensor, pause: Pause, *, compile: bool | None) -> None:
    vae = made(setup)

    def turn(state: Any) -> bool:
        return pause(-state.history[-1]["train_elbo"], {})

    found = fit(vae, x, epochs=10**5, batch_size=batch, device="cpu", progress=False, callbacks=[turn], compile=compile)
    said = {"compile_seconds": found.compile_seconds, "compiled": found.compiled, "replayed": found.replayed}
    pause(math.nan, {**said, "not_compiled": found.not_compiled, "not_replayed": found.not_replayed})


def with_svi(setup: str, batch: int, x: Tensor, pause: Pause) -> None:
    import pyro
    from pyro.infer import SVI, Trace_ELBO
    from torch.utils.data import DataLoader, TensorDataset

    vae = made(setup)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), loss=Trace_ELBO())
    loader = DataLoader(TensorDataset(x), batch_size=batch, shuffle=True)
    while not pause(sum(svi.step(rows) for (rows,) in loader) / len(x), {}):
        pass


def with_pythae(setup: str, batch: int, x: Tensor, pause: Pause) -> None:
    import tempfile

    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    vae = made(setup)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = vae.posterior.net

        def forward(self, x: Tensor) -> Any:
            loc, log_covariance = self.net(x).unbind(-2)
            return ModelOutput(embedding=loc, log_covariance=log_covariance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = vae.likelihood.net

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.net(z).squeeze(-2).sigmoid())

    class Turn(TrainingCallback):
        def on_log(self, config: Any, logs: dict[str, float], **more: Any) -> None:
            if pause(logs["train_epoch_loss"], {}):
                raise StopIteration

    config = VAEConfig(input_dim=x[0].shape, latent_dim=SETUPS[setup]["latent_dim"], reconstruction_loss="bce")
    with tempfile.TemporaryDirectory() as folder:
        settings = {"num_epochs": 10**5, "per_device_train_batch_size": batch, "learning_rate": 1e-3, "no_cuda": True}
        trainer = BaseTrainer(
            VAE(config, Encoder(), Decoder()),
            BaseDataset(x, torch.zeros(len(x))),
            training_config=BaseTrainerConfig(folder, keep_best_on_train=True, **settings),
            callbacks=[Turn()],
        )
        with suppress(StopIteration):
            trainer.train()


def products(setup: str, batch: int, x: Tensor, pause: Pause) -> None:
    vae: Any = made(setup)
    modules = [(batch, vae.posterior), (batch, vae.likelihood), (batch, vae.prior)]
    modules += [(len(vae.prior.pseudo_inputs), vae.posterior.net)] if setup == "vamp" else []
    layers = [
        (rows, m.weight.detach()) for rows, module in modules for m in module.modules() if isinstance(m, nn.Linear)
    ]
    layers += (
        [(batch, torch.randn(500, 2 * SETUPS[setup]["latent_dim"]))] if setup == "vamp" else []
    )  # to the components
    work = [(torch.randn(rows, w.shape[1]), w, torch.randn(rows, w.shape[0])) for rows, w in layers]
    while True:
        for _ in range(len(x) // batch):
            for h, weight, gradient in work:
                h @ weight.T
                gradient.T @ h
                if weight.shape[1] != x[0].numel():  # data have no gradient
                    gradient @ weight
        if pause(math.nan, {}):
            return


# By hand, with the same networks


def by_hand(setup: str, batch: int, x: Tensor, pause: Pause) -> None:
    vae = made(setup)
    optimizer = torch.optim.Adam([p for p in vae.parameters() if p.requires_grad], lr=1e-3, fused=True)
    while True:
        total = 0.0
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            loss = loss_by_hand(setup, vae, x[rows])
            loss.backward()
            optimizer.step()
            total += loss.item()
        if pause(total / len(x), {}):
            return


def loss_by_hand(setup: str, vae: ppl_vae.VAE, x: Tensor) -> Tensor:
    """Minus the ELBO of a batch."""
    q: Any = vae.posterior
    loc, raw, *context = q.net(x).unbind(-2)
    scale, noise = _positive(raw), torch.randn_like(loc)
    z = loc + scale * noise
    log_q = (-0.5 * noise.square() - scale.log()).sum(-1) - 0.5 * LOG_2_PI * z.shape[-1]
    if setup == "iaf":
        for net in q.flow.nets:
            z, log_scale = _flowed(net, z, context[0])
            log_q = log_q - log_scale
    logits = vae.likelihood.net(z)
    fit_to = F.binary_cross_entropy_with_logits(logits.reshape(x.shape), x, reduction="sum")
    if setup in ("mlp", "gated", "conv"):
        return fit_to + 0.5 * (loc.square() + scale.square() - 1 - 2 * scale.log()).sum()
    return fit_to + (log_q - log_prior_by_hand(setup, vae, z)).sum()


def log_prior_by_hand(setup: str, vae: ppl_vae.VAE, z: Tensor) -> Tensor:
    prior: Any = vae.prior
    if setup == "vamp":
        loc, raw = vae.posterior.net(prior.pseudo_inputs).unbind(-2)
        precision, scale = _positive(raw).double().square().reciprocal(), _positive(raw)
        points, centres = z.double(), loc.double()
        rows = torch.cat([precision, -2 * centres * precision], -1)
        far = torch.cat([points.square(), points], -1) @ rows.mT + (centres.square() * precision).sum(-1)
        each = (-0.5 * far - scale.double().log().sum(-1) - 0.5 * LOG_2_PI * z.shape[-1]).float()
        return each.logsumexp(-1) - math.log(len(loc))
    added = z.new_zeros(z.shape[:-1])
    for net in prior.flow.nets if setup == "flow" else []:
        z, log_scale = _flowed(net, z, z.new_zeros(1))
        added = added + log_scale
    return -0.5 * z.square().sum(-1) - 0.5 * LOG_2_PI * z.shape[-1] + added


def _flowed(net: nn.Module, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    shift, raw = net(z, context)
    log_scale = 2 * torch.tanh(raw / 2)
    return shift + log_scale.exp() * z, log_scale.sum(-1)


def _positive(raw: Tensor) -> Tensor:
    return F.softplus(raw + SHIFT) + 1e-4


# NumPyro, from the same initial weights


def with_numpyro(setup: str, batch: int, x: Tensor, pause: Pause) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax import lax, random
    from numpyro import optim
    from numpyro.infer import SVI, Trace_ELBO

    model, guide = numpyro_pair(setup, made(setup))
    svi, data, num = SVI(model, guide, optim.Adam(1e-3), Trace_ELBO()), jnp.array(x.numpy()), len(x) // batch
    state, generator = svi.init(random.PRNGKey(0), data[:batch]), np.random.default_rng(0)

    @jax.jit
    def one(state: Any, rows: Any) -> Any:
        return svi.update(state, data[rows])

    @jax.jit
    def epoch(state: Any, order: Any) -> Any:
        def body(i: Any, carried: Any) -> Any:
            state, total = carried
            state, loss = svi.update(state, data[lax.dynamic_slice_in_dim(order, i * batch, batch)])
            return state, total + loss

        return lax.fori_loop(0, num, body, (state, 0.0))

    while True:
        order, total = generator.permutation(len(x)), 0.0
        if setup == "conv":
            for rows in np.array_split(order, num):
                state, loss = one(state, rows)
                total += float(loss)
        else:
            state, loss = epoch(state, jnp.array(order))
            total = float(loss)
        if pause(total / len(x), {}):
            return


def numpyro_pair(setup: str, vae: ppl_vae.VAE) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Model and guide of a set-up in NumPyro."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.nn import softplus
    from jax.scipy.special import logsumexp
    from numpyro.distributions.flows import InverseAutoregressiveTransform

    q, prior, dims = vae.posterior, vae.prior, SETUPS[setup]["latent_dim"]
    improper = dist.ImproperUniform(dist.constraints.real_vector, (), (dims,))  # its density is a factor

    def positive(raw: Any) -> Any:
        return softplus(raw + SHIFT) + 1e-4

    def log_prior(z: Any) -> Any:
        if setup == "vamp":
            out = jax_net("e", q.net, numpyro.param("u", _array(prior.pseudo_inputs)))
            loc, scale = out[..., 0, :], positive(out[..., 1, :])
            rows = jnp.concatenate([1 / scale**2, -2 * loc / scale**2], -1)
            far = jnp.concatenate([z * z, z], -1) @ rows.T + (loc**2 / scale**2).sum(-1)
            each = -0.5 * far - jnp.log(scale).sum(-1) - 0.5 * LOG_2_PI * dims
            return logsumexp(each, -1) - math.log(len(loc))
        added = 0.0
        for number, net in enumerate(prior.flow.nets):
            shift, log_scale = jax_masked(f"f{number}", net, z, jnp.zeros((len(z), 1)))
            z, added = shift + jnp.exp(log_scale) * z, added + log_scale.sum(-1)
        return -0.5 * (z * z).sum(-1) - 0.5 * LOG_2_PI * dims + added

    def model(x: Any) -> None:
        with numpyro.plate("data", len(x)):
            by_factor = setup in ("vamp", "flow")
            z = numpyro.sample("z", improper if by_factor else dist.Normal(0, 1).expand([dims]).to_event(1))
            if by_factor:
                numpyro.factor("prior", log_prior(z))
            logits = jax_net("d", vae.likelihood.net, z).reshape(x.shape)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(x.ndim - 1), obs=x)

    def guide(x: Any) -> None:
        out = jax_net("e", q.net, x)
        with numpyro.plate("data", len(x)):
            found = dist.Normal(out[..., 0, :], positive(out[..., 1, :])).to_event(1)
            if setup == "iaf":
                parts = [partial(jax_masked, f"q{n}", net, context=out[..., 2, :]) for n, net in enumerate(q.flow.nets)]
                found = dist.TransformedDistribution(found, [InverseAutoregressiveTransform(part) for part in parts])
            numpyro.sample("z", found)

    return model, guide


def _array(values: Tensor) -> Any:
    import jax.numpy as jnp

    return jnp.array(values.detach().numpy())


def _linear(name: str, module: nn.Module) -> tuple[Any, Any]:
    import numpyro

    return numpyro.param(f"{name}w", _array(module.weight)), numpyro.param(f"{name}b", _array(module.bias))


def jax_net(name: str, net: Any, h: Any) -> Any:
    """A network of ours in JAX."""
    if hasattr(net, "head"):
        return jax_net(f"{name}h", net.head, jax_convolutions(name, net, h).reshape(len(h), -1))
    if hasattr(net, "stem"):
        return jax_convolutions(name, net, jax_net(f"{name}h", net.stem, h)).reshape(len(h), *net.out_shape)
    import jax
    import jax.numpy as jnp

    for number, module in enumerate(net.layers):
        if isinstance(module, nn.Linear):
            weight, bias = _linear(f"{name}{number}", module)
            h = h @ weight.T + bias
        elif isinstance(module, nn.GLU):
            first, gate = jnp.split(h, 2, -1)
            h = first * jax.nn.sigmoid(gate)
        else:
            h = jax.nn.relu(h)
    return h.reshape(*h.shape[:-1], *net.out_shape)


def jax_convolutions(name: str, net: Any, h: Any) -> Any:
    import jax
    import jax.numpy as jnp
    from jax import lax

    shape = {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}
    down = hasattr(net, "head")
    for number, module in enumerate(m for m in net.convolutions if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)):
        weight, bias = _linear(f"{name}c{number}", module)
        if down:
            h = jax.nn.relu(lax.conv_general_dilated(h, weight, (2, 2), [(1, 1)] * 2, **shape) + _over(bias))
            continue
        weight = jnp.flip(weight, (2, 3)).transpose(1, 0, 2, 3)  # (in, out, 4, 4), stride 2, padding 1
        h = lax.conv_general_dilated(jax.nn.relu(h), weight, (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2), **shape)
        height, width = net.sizes[number + 1]
        h = (h + _over(bias))[..., :height, :width]
    return h


def _over(bias: Any) -> Any:
    return bias[None, :, None, None]


def jax_masked(name: str, net: Any, z: Any, context: Any) -> tuple[Any, Any]:
    """Shift and log scale of a masked autoregressive network of ours."""
    import jax
    import jax.numpy as jnp

    h, layers = jnp.concatenate([context, z], -1), list(net.layers)
    for number, module in enumerate(layers):
        weight, bias = _linear(f"{name}{number}", module)
        h = h @ (weight * _array(module.mask)).T + bias
        h = jax.nn.relu(h) if number < len(layers) - 1 else h
    shift, raw = jnp.split(h, 2, -1)
    return shift, 2 * jnp.tanh(raw / 2)


# Turns

CONTENDERS: dict[str, Callable[..., None]] = {
    "by hand": by_hand,
    "called": partial(ours, compile=False),
    "replayed": partial(ours, compile=None),
    "compiled": partial(ours, compile=True),
    "numpyro": with_numpyro,
    "pyro": with_svi,
    "pythae": with_pythae,
    "products": products,
}
OURS = {"called", "replayed", "compiled"}


def contend(name: str, setup: str, batch: int, steps: int, threads: int, parent: Connection) -> None:
    """Take turns, in a process of its own, when the parent says so."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    clock = [time.perf_counter(), time.process_time()]

    def pause(loss: float, said: dict[str, Any]) -> bool:
        took = [time.perf_counter() - clock[0], time.process_time() - clock[1]]
        parent.send({"loss": loss, "clock": took[0] / steps * 1e3, "cpu": took[1] / steps * 1e3, **said})
        go: bool = said or parent.recv()
        clock[:] = [time.perf_counter(), time.process_time()]
        return not go

    CONTENDERS[name](setup, batch, images(setup, batch * steps), pause)
    parent.close()


def race(setup: str, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    """Medians of each contender, and what else it says at the end."""
    context, running = multiprocessing.get_context("forkserver"), {}
    context.set_forkserver_preload(["torch", "pyro", "ppl_vae.training", "ppl_vae.vae"])
    left_out = {"products"} if setup == "conv" else set()
    left_out |= {"pythae"} if setup != "mlp" else set()
    for name in [c for c in args.contenders if c not in left_out]:
        ours_too, theirs = context.Pipe()
        process = context.Process(target=contend, args=(name, setup, batch, args.steps, args.threads, theirs))
        process.start()
        theirs.close()
        running[name] = (process, ours_too, [])
    for _, pipe, turns in running.values():
        turns.append(pipe.recv())
    for _ in range(args.rounds + 1):
        for _, pipe, turns in running.values():
            pipe.send(True)
            turns.append(pipe.recv())
    found = {}
    for name, (process, pipe, turns) in running.items():
        pipe.send(False)
        said = pipe.recv() if name in OURS else {}
        process.join()
        found[name] = {**_summary(turns[2:]), **{k: v for k, v in said.items() if k not in ("loss", "clock", "cpu")}}
    for name, (_, _, turns) in running.items():
        pairs = zip(turns[2:], running["by hand"][2][2:], strict=True)
        found[name]["of by hand"] = statistics.median(turn["cpu"] / hand["cpu"] for turn, hand in pairs)
    return found


def _summary(turns: list[dict[str, Any]]) -> dict[str, float]:
    cpu, clock = sorted(turn["cpu"] for turn in turns), [turn["clock"] for turn in turns]
    return {
        "cpu_ms": statistics.median(cpu),
        "cpu_ms_fastest": cpu[0],
        "clock_ms": statistics.median(clock),
        "loss": None if math.isnan(turns[-1]["loss"]) else turns[-1]["loss"],  # of products alone there is none
    }


def table(results: dict[str, Any]) -> str:
    """CPU time of a step as a ratio to that by hand, and in ms by hand, in Markdown; the smallest is bold."""
    there = {name for found in results["setups"].values() for name in found["contenders"]}
    others = [name for name in CONTENDERS if name != "by hand" and name in there]
    lines = ["| set-up: batch | by hand, ms | " + " | ".join(others) + " | compiled in |"]
    lines.append("|---|" + "--:|" * (len(others) + 2))
    for setup, found in results["setups"].items():
        rows = found["contenders"]
        best = min(row["of by hand"] for name, row in rows.items() if name != "products")
        cells = [f"{rows['by hand']['cpu_ms']:.1f}"]
        for name in others:
            ratio = rows.get(name, {}).get("of by hand")
            cells.append("" if ratio is None else f"**{ratio:.2f}**" if ratio == best else f"{ratio:.2f}")
        seconds = rows.get("compiled", {}).get("compile_seconds")
        lines.append(f"| {setup} | " + " | ".join([*cells, "" if seconds is None else f"{seconds:.0f} s"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--setups", nargs="+", default=["mlp:128"], help="SETUP:BATCH, several")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=15, help="rounds the medians are over")
    parser.add_argument("--steps", type=int, default=20, help="steps of each in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file; set-ups that are there already stay")
    args = parser.parse_args()
    versions = results_file.versions("pyro-ppl", "numpyro", "jax", "pythae")
    args.contenders = [c for c in args.contenders if versions.get(c) != "not installed"]
    results = json.loads(args.out.read_text()) if args.out and args.out.exists() else {"setups": {}}
    for setup in args.setups:
        name, _, batch = setup.partition(":")
        start = time.perf_counter()
        found = race(name, int(batch), args)
        results["setups"][f"{setup}, {args.threads} thread{'s' * (args.threads > 1)}"] = {
            "command": results_file.command(__file__, None),
            "machine": f"{results_file.processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "versions": versions,
            "rounds": args.rounds,
            "steps": args.steps,
            "seconds": round(time.perf_counter() - start),
            "contenders": found,
        }
        print(f"{setup}, {args.threads} threads: CPU ms a step (of by hand)")
        for contender, row in sorted(found.items(), key=lambda item: item[1]["of by hand"]):
            more = f", compiled in {row['compile_seconds']:.1f} s" if row.get("compiled") else ""
            loss = math.nan if row["loss"] is None else row["loss"]
            print(f"  {contender:10} {row['cpu_ms']:8.2f} ({row['of by hand']:.2f}), loss {loss:.1f}{more}")
        first = min(found.keys() - {"products"}, key=lambda c: found[c]["of by hand"])
        if first not in OURS:
            print(f"  not ours is first here: {first}")
        results_file.write(results, args.out)
    print(table(results))


if __name__ == "__main__":
    main()
