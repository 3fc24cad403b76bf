"""scvi-tools on the cells of `experiments/cells.py`: trains scVI there, and writes its networks for the same judge.

Runs in an environment of its own, without ppl_vae (scvi-tools asks for pandas < 3):

    python -m venv scvi && scvi/bin/pip install scvi-tools "pandas<3" torch==2.13.0
    python experiments/cells.py --data worm --data-dir DIR --split split.npz
    scvi/bin/python experiments/benchmarks/scvi_tools.py split.npz --nets plain --out scvi_plain.npz
    python experiments/cells.py --data worm --data-dir DIR --scvi scvi_plain.npz --out cells_worm.json

scVI has its usual settings (one hidden layer of 128 units, Adam at 1e-3, batches of 128, KL warm-up over 400 epochs, or
over all if they are fewer) with a negative binomial and one dispersion for each gene. `--nets plain` has neither batch
normalization nor dropout, as the MLPs of ppl_vae; `--nets usual` has both, as scVI comes. Batch normalization is an
affine map once a network is trained, and is written as part of the layer it follows. scvi-tools' own log p(x) is not
used: both models are judged by one estimator, `ppl_vae.evaluate`, on networks that give the same numbers (some are
written to check that).
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch

NETS = {"plain": {"use_batch_norm": "none", "dropout_rate": 0.0}, "usual": {}}
CHECKED = 20  # cells whose q(z | x) and means are written


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path, help="what `cells.py --split` wrote: x, and the rows of each split")
    parser.add_argument("--nets", default="plain", choices=NETS)
    parser.add_argument("--latent-dim", type=int, default=10)
    parser.add_argument("--hidden-dim", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="write the networks here, as npz")
    args = parser.parse_args(argv)

    import anndata  # here, so that --help works in the other environment
    import scvi

    scvi.settings.seed = args.seed
    given = np.load(args.split)
    rows = np.concatenate([given["train"], given["validation"]])
    cells = anndata.AnnData(given["x"][rows].astype(np.float32))
    scvi.model.SCVI.setup_anndata(cells)
    settings = {"n_hidden": args.hidden_dim, "n_latent": args.latent_dim, "n_layers": 1, **NETS[args.nets]}
    model = scvi.model.SCVI(cells, gene_likelihood="nb", dispersion="gene", **settings)
    start, split = time.perf_counter(), np.split(np.arange(len(rows)), [len(given["train"])])
    warm_up = {"n_epochs_kl_warmup": min(args.epochs, 400)}  # of 400, or the KL would never have its full weight
    model.train(
        max_epochs=args.epochs,
        accelerator="cpu",
        datasplitter_kwargs={"external_indexing": split},
        plan_kwargs=warm_up,
    )
    seconds = time.perf_counter() - start
    print(f"scVI, {args.nets} nets: {args.epochs} epochs in {seconds:.0f} s on {torch.get_num_threads()} threads")
    said = {
        "command": shlex.join(["python", "experiments/benchmarks/scvi_tools.py", *(argv or sys.argv[1:])]),
        "settings": settings,
        "epochs": args.epochs,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "versions": {"scvi-tools": scvi.__version__, "torch": torch.__version__, "anndata": anndata.__version__},
    }
    module = model.module.eval()
    some = torch.as_tensor(given["x"][given["test"][:CHECKED]]).float()
    np.savez(args.out, said=json.dumps(said), **networks(module), **outputs(module, some))


def networks(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Weights and biases by the name of their layer, and r of each gene."""
    encoder, decoder = module.z_encoder, module.decoder
    layers = {
        "encoder_hidden": hidden(encoder.encoder),
        "encoder_mean": plain(encoder.mean_encoder),
        "encoder_log_variance": plain(encoder.var_encoder),
        "decoder_hidden": hidden(decoder.px_decoder),
        "decoder_logits": plain(decoder.px_scale_decoder[0]),
    }
    found = {f"{name}.{part}": values for name, (w, b) in layers.items() for part, values in {"w": w, "b": b}.items()}
    return found | {"r": module.px_r.detach().exp().numpy(), "variance_added": np.array(encoder.var_eps)}


def plain(layer: torch.nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


def hidden(layers: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """The one hidden layer, with its batch normalization."""
    linear, *others = [part for part in layers.fc_layers[0] if part is not None]
    w, b = plain(linear)
    norm = next((part for part in others if isinstance(part, torch.nn.BatchNorm1d)), None)
    if norm is None:
        return w, b
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double().numpy()
    shift = norm.bias.detach().double().numpy() - scale * norm.running_mean.double().numpy()
    return scale[:, None] * w, scale * b + shift


@torch.no_grad()
def outputs(module: torch.nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """What scvi-tools itself gives for some cells: q(z | x), and the means of x at the mean of q."""
    batch = torch.zeros(len(x), 1, dtype=torch.long)
    q = module.inference(x, batch)["qz"]
    library = x.sum(1, keepdim=True).log()
    p = module.generative(q.loc, library, batch, y=torch.zeros_like(batch))["px"]
    return {"q_mean": q.loc.numpy(), "q_sd": q.scale.numpy(), "x_mean": p.mu.numpy(), "checked": x.numpy()}


if __name__ == "__main__":
    main()
