"""What do scores and diagnostics of a datum cost, against torch by hand and the matrix products alone?

    python experiments/benchmarks/scores.py --name after --out experiments/results/scores.json

One VAE with a Bernoulli likelihood, `--setup` ``mlp``, ``gated`` or ``vamp`` of `steps.py`, trained for an epoch on
random binary images, which cost what MNIST's do. In one process, in turns, `--rounds` times each:

* ``evaluate``, ``check_guide``: `--num-samples` draws of each of `--num-data` images;
* ``evaluate, compiled``: the same without the seconds of compilation;
* ``evaluate, bf16``, ``evaluate, bf16, compiled``: a further image, from the difference of twice as many images and
  these: without the 100 images that are scored in float32 as well, either;
* ``by hand``: log p(x) of the same images and draws in plain torch, ten images at once, without checks or errors;
* ``products``: the matrix products of those draws alone, in float32, of the decoder and of the mixture: the limit;
* ``ais``, ``hmc``, ``inference_gaps``, ``compare_posteriors``, ``diagnose``: on the first `--subset` images, with
  `--length` temperatures and transitions (`ais` from q and from the prior; `diagnose` with ``full=True``).

Milliseconds are of the process's CPU time for a datum, medians over the rounds, as the machine may do other things;
the first round, in which graphs are captured, counts as any other. With the same `--out`, runs of two versions of the
library are kept side by side by `--name`, with the ratio of each to the first. Of annealing the mean standard error of
log p(x) is kept, too, and the mean standard deviation of the log weights: times compare at equal errors.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path += map(str, Path(__file__).parents[:2])

import results_file
import steps
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ppl_vae
from ppl_vae import diagnose, evaluate, fit
from ppl_vae.diagnostics import ais, check_guide, compare_posteriors, hmc, inference_gaps, to_arviz


def by_hand(vae: ppl_vae.VAE, x: Tensor, num_samples: int, at_once: int = 10, setup: str = "mlp") -> Tensor:
    """log p(x) by importance sampling, of so many images at once, (n,)."""
    found = []
    with torch.no_grad():
        for few in x.split(at_once):
            loc, raw_scale = vae.posterior.net(few).unbind(-2)
            scale = F.softplus(raw_scale + steps.SHIFT) + 1e-4
            noise = torch.randn(num_samples, *loc.shape, device=x.device)
            z = loc + scale * noise
            logits = vae.likelihood.net(z).squeeze(-2)
            log_w = (few * logits).sum(-1) - F.softplus(logits).sum(-1)
            log_w += 0.5 * (noise.square().sum(-1) + steps.LOG_2_PI * z.shape[-1]) + scale.log().sum(-1)
            log_w += steps.log_prior_by_hand(setup, vae, z)
            found.append(log_w.logsumexp(0) - math.log(num_samples))
    return torch.cat(found)


def products(vae: ppl_vae.VAE, num_data: int, num_samples: int, at_once: int = 1) -> None:
    """The matrix products of decoder and mixture for so many draws, those of some images at once."""
    weights = [layer.weight for layer in vae.likelihood.net.modules() if isinstance(layer, nn.Linear)]
    if isinstance(vae.prior, ppl_vae.VampPrior):  # distances of z to means, with squares of both
        weights.append(weights[0].new_ones(len(vae.prior.pseudo_inputs), 2 * weights[0].shape[1]))
    inputs = [torch.ones(at_once * num_samples, weight.shape[1], device=weight.device) for weight in weights]
    with torch.no_grad():
        for _ in range(math.ceil(num_data / at_once)):
            for weight, values in zip(weights, inputs, strict=True):
                values @ weight.T


def further(vae: ppl_vae.VAE, x: Tensor, settings: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """An evaluation of all of these images, and of half of them."""
    return lambda: evaluate(vae, x, **settings), lambda: evaluate(vae, x[: len(x) // 2], **settings)


def tasks(vae: ppl_vae.VAE, all_x: Tensor, args: argparse.Namespace) -> dict[str, tuple[int, Callable[[], Any], Any]]:
    """By name the number of data of a task, the task, and another, or `None`, whose time does not count."""
    x = all_x[: args.num_data]
    few, length, given = x[: args.subset], args.length, {"seed": args.seed, "progress": False}
    chains = hmc(vae, few, num_warmup=length, num_samples=length, **given)
    chains["diagnostics"]["reliable"].values[:] = True  # so short ones disagree, and would be left out
    drawn = to_arviz(vae, few, num_samples=1000, seed=args.seed)
    scored = {"num_samples": args.num_samples, **given}
    compiled, bf16 = {**scored, "compile": True}, {**scored, "precision": "bf16"}
    each = {
        "products": (len(x), lambda: products(vae, len(x), args.num_samples)),
        "by hand": (len(x), lambda: by_hand(vae, x, args.num_samples, setup=args.setup)),
        "evaluate": (len(x), lambda: evaluate(vae, x, **scored)),
        "evaluate, compiled": (len(x), lambda: evaluate(vae, x, **compiled)),
        "check_guide": (len(x), lambda: check_guide(vae, x, **scored)),
        "ais from q": (len(few), lambda: ais(vae, few, init="guide", num_temperatures=length, **given)),
        "ais from the prior": (len(few), lambda: ais(vae, few, num_temperatures=length, **given)),
        "hmc": (len(few), lambda: hmc(vae, few, num_warmup=length, num_samples=length, **given)),
        "inference_gaps": (len(few), lambda: inference_gaps(vae, few, **given)),
        "compare_posteriors": (len(few), lambda: compare_posteriors(drawn, chains)),
        "diagnose, full": (len(few), lambda: diagnose(vae, few, full=True, length=length, **given)),
    }
    more = {
        "evaluate, bf16": (len(x), *further(vae, all_x, bf16)),
        "evaluate, bf16, compiled": (len(x), *further(vae, all_x, compiled | bf16)),
    }
    return {name: (*task, None) for name, task in each.items()} | more


def timed(task: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU, without those of compilation, and what the task returns."""
    start = time.process_time()
    result = task()
    compilation = getattr(result, "compiled", None) or {"seconds": 0.0}
    return time.process_time() - start - compilation["seconds"], result


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Milliseconds of a datum, by task."""
    args = parsed(argv)
    torch.manual_seed(args.seed)
    vae, x = steps.made(args.setup), steps.images(args.setup, 2 * args.num_data)
    fit(vae, x, epochs=1, seed=args.seed, progress=False, device="cpu")
    times: dict[str, list[tuple[float, float]]] = {}
    errors: dict[str, dict[str, float]] = {}
    todo = tasks(vae, x, args)
    if unknown := {*(args.tasks or [])} - {*todo}:
        raise ValueError(f"--tasks expects some of {', '.join(todo)}, got {', '.join(sorted(unknown))}")
    for name in args.tasks or todo:
        if name.endswith("compiled"):
            todo[name][1]()  # inductor keeps what it compiled
    for _ in range(args.rounds):
        for name in args.tasks or todo:
            number, task, other = todo[name]
            without = 0.0 if other is None else timed(other)[0]
            seconds, result = timed(task)
            times.setdefault(name, []).append((1000 * seconds / number, 1000 * without / number))
            print(f"{name}: {times[name][-1][0] - times[name][-1][1]:.1f} ms a datum", flush=True)
            if name.startswith("ais"):
                errors[name] = {of: round(float(result[of].mean()), 3) for of in ("log_px_mcse", "log_weight_sd")}
    found = {
        "command": results_file.command(__file__, argv),
        "ms of CPU a datum": {name: round(middle(each), 2) for name, each in times.items()},
        "rounds": {name: [round(one - other, 2) for one, other in each] for name, each in times.items()},
        "errors in nats": errors,
        "threads": torch.get_num_threads(),
        "machine": f"{results_file.processor()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "load": os.getloadavg()[0],
        "versions": results_file.versions(),
    }
    return kept(found, args)


def middle(pairs: list[tuple[float, float]]) -> float:
    """The median of what a task takes, less that of what does not count: the noise of each round is in both."""
    return statistics.median(one for one, _ in pairs) - statistics.median(other for _, other in pairs)


def kept(found: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The runs by name, this one among them, and printed; written to `--out`."""
    runs = json.loads(args.out.read_text())["runs"] if args.out and args.out.exists() else {}
    runs[args.name] = found
    first = next(iter(runs.values()))["ms of CPU a datum"]
    table = {}
    for task, value in found["ms of CPU a datum"].items():
        table[task] = {name: run["ms of CPU a datum"].get(task) for name, run in runs.items()}
        table[task] |= {"first / this": round(first[task] / value, 2)} if task in first and value else {}
    for task, row in table.items():
        print(f"{task:20} " + "  ".join(f"{name} {value}" for name, value in row.items()))
    result = {"runs": runs, "table": table}
    results_file.write(result, args.out)
    return result


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--setup", choices=["mlp", "gated", "vamp"], default="mlp")
    parser.add_argument("--num-data", type=int, default=100, help="images to score")
    parser.add_argument("--num-samples", type=int, default=1000, help="draws of each")
    parser.add_argument("--subset", type=int, default=10, help="images of the longer diagnostics")
    parser.add_argument("--length", type=int, default=100, help="temperatures, and transitions of each half of a chain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", help="only these, by name (all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="this", help="of the run, among those in --out")
    parser.add_argument("--out", type=Path, help="write what was found as JSON, beside earlier runs")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
