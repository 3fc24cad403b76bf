"""What do training steps and scores cost on a GPU, against torch by hand?

    python experiments/benchmarks/gpu.py --out experiments/results/gpu.json

Training, on random binary images of 784 pixels with Adam; the set-ups are those of `steps.py`. All data are on the GPU.
In one process, one after the other:

* ``by hand``: plain torch, fused Adam, nothing that waits for the GPU within an epoch;
* ``by hand, graph``: that step recorded as a CUDA graph, with a capturable Adam;
* ``by hand, compiled graph``: the same with its loss compiled by `torch.compile`, for those of `--compiled`;
* ``called``, ``replayed``, ``compiled``: `fit` with ``compile=False``, ``None`` and ``True``.

Microseconds of a step are by the clock, the median of `--epochs` epochs of `--steps` steps, the first three left out.
``by hand`` is measured again at the end of each set-up.

Scores, of the gated MLP: `evaluate` with `--num-samples` draws an image, plain and adaptive, beside log p(x) by hand
and the decoder's matrix products of the same draws, in milliseconds an image.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import results_file
import scores as scored
import steps
import torch
from torch import Tensor

from ppl_vae import evaluate, fit

TRAINED = ["mlp:128", "gated:128", "gated:1024", "gated:8192", "vamp:128", "conv:128", "conv:1024"]
COMPILED = ["mlp:128", "gated:128", "gated:1024", "gated:8192", "vamp:128", "conv:128"]
AT_ONCE = 100  # images
Seconds = Iterator[float]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Rows of steps and of scores."""
    parser = results_file.parser_of(__doc__)
    results_file.add_outputs(parser)
    parser.add_argument("--setups", nargs="*", default=TRAINED, help="set-ups and batch sizes")
    parser.add_argument("--steps", type=int, default=100, help="steps of an epoch")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--compiled", nargs="*", default=COMPILED, help="those to compile, too")
    parser.add_argument("--train", type=int, default=20000, help="images on which the scored model is trained")
    parser.add_argument("--scored", type=int, default=1000, help="images to score; 0 for none")
    parser.add_argument("--rounds", type=int, default=3, help="times that all is scored")
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args(argv)
    rows = [row for setup in chosen.setups for row in trained(setup, chosen)]
    rows += scores(chosen) if chosen.scored else []
    found = {
        "command": results_file.command(__file__, argv),
        "device": torch.cuda.get_device_name() if chosen.device == "cuda" else chosen.device,
        "versions": results_file.versions("triton"),
        "rows": rows,
    }
    results_file.write(found, chosen.out)
    return found


def trained(name: str, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Microseconds of a step of every contender at a set-up and batch size."""
    setup, batch = name.split(":")[0], int(name.split(":")[1])
    x = steps.images(setup, batch * chosen.steps).to(chosen.device)
    graphs = chosen.device == "cuda"
    contenders: dict[str, Callable[[], Seconds]] = {"by hand": lambda: by_hand(setup, batch, x)}
    if graphs:
        contenders["by hand, graph"] = lambda: by_hand(setup, batch, x, graph=True)
    contenders["called"] = lambda: ours(setup, batch, x, chosen, compile=False)
    contenders["replayed"] = lambda: ours(setup, batch, x, chosen, compile=None)
    if name in chosen.compiled:
        if graphs:
            contenders["by hand, compiled graph"] = lambda: by_hand(setup, batch, x, graph=True, compile=True)
        contenders["compiled"] = lambda: ours(setup, batch, x, chosen, compile=True)
    for contender, contend in [*contenders.items(), ("by hand, again", contenders["by hand"])]:
        seconds = contend()
        spent = [next(seconds) for _ in range(chosen.epochs + 3)][3:]
        row = {"set-up": setup, "batch": batch, "contender": contender}
        row["microseconds a step"] = round(1e6 * statistics.median(spent) / chosen.steps, 1)
        print(f"{name} {contender}: {row['microseconds a step']:.0f} us a step", flush=True)
        yield row


def ours(setup: str, batch: int, x: Tensor, chosen: argparse.Namespace, *, compile: bool | None) -> Seconds:
    """Seconds of the epochs of `fit`, all that it does between two callbacks."""
    vae, marks = steps.made(setup).to(x.device), []

    def mark(state: Any) -> bool:
        marks.append(time.perf_counter())
        return len(marks) > chosen.epochs + 3

    epochs = max(10**5, chosen.epochs)  # many steps to come: None replays them
    found = fit(
        vae, x, epochs=epochs, batch_size=batch, device=str(x.device), progress=False, callbacks=[mark], compile=compile
    )
    if reason := found.not_compiled if compile else found.not_replayed if compile is None else None:
        print(f"  {reason}", flush=True)
    yield from (after - before for before, after in pairwise(marks))


def by_hand(setup: str, batch: int, x: Tensor, *, graph: bool = False, compile: bool = False) -> Seconds:
    """Seconds of the epochs of a loop by hand."""
    vae = steps.made(setup).to(x.device)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=x.is_cuda, capturable=graph)

    def loss_of(rows: Tensor) -> Tensor:
        return steps.loss_by_hand(setup, vae, rows)

    loss_of = torch.compile(loss_of) if compile else loss_of

    def step(rows: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=not graph)
        loss = loss_of(rows)
        loss.backward()
        optimizer.step()
        return loss.detach()

    take = recorded(step, x[:batch].clone()) if graph else step
    while True:
        start = time.perf_counter()
        total = x.new_zeros(())
        for rows in torch.randperm(len(x), device=x.device).split(batch):
            total += take(x[rows])
        total.item()
        yield time.perf_counter() - start


def recorded(step: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[Tensor], Tensor]:
    """A step as a CUDA graph, after three steps on another stream."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(x)

    def replay(rows: Tensor) -> Tensor:
        x.copy_(rows)
        graph.replay()
        return loss

    return replay


def scores(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Milliseconds of an image of every way to score it."""
    vae, x = steps.made("gated").to(chosen.device), steps.images("gated", chosen.train)
    fit(vae, x, epochs=3, batch_size=250, device=chosen.device, progress=False)
    few = x[: chosen.scored]
    given: dict[str, Any] = {"num_samples": chosen.num_samples, "seed": 0, "progress": False}
    ways: dict[str, Callable[[], Any]] = {
        "products": lambda: scored.products(vae, len(few), chosen.num_samples, AT_ONCE),
        "by hand": lambda: scored.by_hand(vae, few.to(chosen.device), chosen.num_samples, AT_ONCE),
        "evaluate": lambda: evaluate(vae, few, **given),
        "evaluate, adaptive": lambda: evaluate(vae, few, method="adaptive", **given),
    }
    for name, way in ways.items():
        spent = []
        for _ in range(chosen.rounds):
            start = time.perf_counter()
            way()
            if chosen.device == "cuda":
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - start)
        each = 1000 * statistics.median(spent) / len(few)
        print(f"{name}: {each:.3f} ms an image", flush=True)
        yield {"set-up": "gated", "score": name, "images": len(few), "ms an image": round(each, 4)}


if __name__ == "__main__":
    main()
