"""How much better than PCA and filters is a denoising autoencoder, and at which noise?

Noisy images in, clean images out. Rows: Gaussian noise of several standard deviations, masked pixels, and salt and
pepper. Columns: the noisy images, a Gaussian and a median filter, PCA, an autoencoder trained on clean images (the
control), and a denoising autoencoder and VAE. Images are in [0, 1], and so is what every method gives, clipped.

All methods except the control are tuned to the noise of their row: each denoising network is trained with it (clean
images as targets); the widths of the filters, the rank of PCA, and whether PCA is fitted to clean or noisy training
images, are those with the highest mean PSNR on validation images. Networks have the same layers and schedule, without
tuning. The VAE decodes the mean of q.

Results on the test images: mean PSNR and SSIM with standard errors, and the paired differences between the denoising
autoencoder and each other method. The mean is over the PSNRs of the images, not the PSNR of a mean error.

    python experiments/denoise.py --data mnist --data-dir DIR --figure denoise.png --out denoise.json
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import results_file
import torch
from matplotlib.figure import Figure
from scipy import ndimage
from sklearn.decomposition import PCA

import ppl_vae
from ppl_vae import MLP, ConvDecoder, ConvEncoder, DiagonalNormal, Flat, Gaussian, Point, StandardNormal, plots
from ppl_vae.corruptions import Corruption, GaussianNoise, Masking, SaltAndPepper
from ppl_vae.evaluation import image_quality

NOISES = {
    **{f"Gaussian, sd {scale}": partial(GaussianNoise, scale=scale) for scale in (0.1, 0.25, 0.5, 0.75)},
    "masking, rate 0.5": partial(Masking, rate=0.5),
    "salt and pepper, rate 0.3": partial(SaltAndPepper, rate=0.3),
}
NETS = {  # encoder and decoder
    "convolutional": (partial(ConvEncoder, channels=(16, 32)), partial(ConvDecoder, channels=(32, 16))),
    "dense": (partial(MLP, hidden_dims=(500,)), partial(MLP, hidden_dims=(500,))),
}
AUTOENCODER = {"prior": Flat, "posterior": Point}
BEST = "denoising autoencoder"
SCALE = (
    0.1  # of p(x | z), about the error that is left: an autoencoder does not depend on it, the VAE's KL weighs by it
)

Denoiser = Callable[[torch.Tensor], torch.Tensor]
Restored = tuple[torch.Tensor, str]
"""Restored test images, and the setting that was chosen for them."""


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="digits", choices=("digits", "mnist", "frey_faces"))
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--noises", nargs="+", default=list(NOISES), choices=NOISES, help="rows of table and figure")
    parser.add_argument("--nets", default="convolutional", choices=NETS)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--latent-dim", type=int, default=64)
    parser.add_argument("--take", type=int, help="use only so many data of each split")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, help="keep the run folders here, and resume them")
    results_file.add_outputs(parser, figure="images")
    args = parser.parse_args(argv)

    data = in_unit_interval(ppl_vae.data.load(args.data, data_dir=args.data_dir))
    if args.take:
        data = data.take(train=args.take, validation=args.take, test=args.take)
    control = trained("autoencoder", data, args, **AUTOENCODER)
    on_clean = pca("clean", data.train.x)
    rows, scores = {}, {}
    for noise in args.noises:
        rows[noise] = denoised(noise, data, control, on_clean, args)
        scores[noise] = scored(data, rows[noise])
        print(
            "",
            f"{noise}: psnr in dB, data range 1; behind in dB of psnr below the {BEST}",
            scores[noise].to_string(float_format="{:.3f}".format),
            sep="\n",
            flush=True,
        )
    found = {
        "command": results_file.command(__file__, argv),
        "units": {"psnr": "dB, data range 1", "behind": f"dB of PSNR below the {BEST}, paired"},
        "noises": {noise: json.loads(score.to_json(orient="index")) for noise, score in scores.items()},
        "data": {"identity": data.test.identity, "provenance": data.test.provenance, "test_images": len(data.test)},
        "versions": results_file.versions(),
    }
    if args.figure:
        results_file.draw(pictures(data, rows, scores), args.figure, dpi=100)
    results_file.write(found, args.out)
    return found


def in_unit_interval(data: ppl_vae.data.Data) -> ppl_vae.data.Data:
    """Grey levels 0, ..., levels - 1 as levels / (levels - 1): a clean image has no noise of dequantization."""
    top = data.domain.levels - 1
    provenance = {
        **data.provenance,
        "transforms": [*data.provenance.get("transforms", []), {"transform": "scale", "top": top}],
    }
    splits = {role: replace(split, x=split.x / top) for role, split in data.splits.items()}
    return replace(data, **splits, domain=data.domain.rescaled(0.0, top, kind="unit"), provenance=provenance)


def trained(name: str, data: ppl_vae.data.Data, args: argparse.Namespace, **parts) -> ppl_vae.VAE:
    encoder, decoder = NETS[args.nets]
    vae = ppl_vae.build(
        data,
        latent_dim=args.latent_dim,
        likelihood=partial(Gaussian, scale=SCALE),
        encoder=encoder,
        decoder=decoder,
        seed=args.seed,
        **parts,
    )
    start = time.perf_counter()
    fitted = ppl_vae.fit(
        vae,
        data.train,  # without validation data: the encoder would see them clean, and they would choose the weights
        epochs=args.epochs,
        batch_size=args.batch_size,
        schedule=ppl_vae.OneCycle(peak=3e-3),
        seed=args.seed,
        device=args.device,
        run=args.runs and args.runs / args.data / name.replace(",", "").replace(" ", "_"),
        resume=bool(args.runs),
    )
    print(f"{name}: {fitted}, {time.perf_counter() - start:.0f} s", flush=True)
    return vae


def denoised(
    noise: str, data: ppl_vae.data.Data, control: ppl_vae.VAE, on_clean: dict[str, Denoiser], args: argparse.Namespace
) -> dict[str, Restored]:
    """The test images with one noise, as every method restores them."""
    corruption = NOISES[noise]()

    def network(name: str, **parts) -> ppl_vae.VAE:
        return trained(f"{name} of {noise}", data, args, corruption=NOISES[noise], **parts)

    train, validation, test = (
        corrupted(split.x, corruption, args.seed + i) for i, split in enumerate(data.splits.values())
    )
    networks = {
        "autoencoder": control,
        BEST: network(BEST, **AUTOENCODER),
        "denoising VAE": network("denoising VAE", prior=StandardNormal, posterior=DiagonalNormal),
    }
    found = {"noisy": (test.clamp(0, 1), "")}
    for name, candidates in {
        "Gaussian filter": {f"sd {sd}": partial(gaussian_filter, sd=sd) for sd in np.arange(0, 3, 0.125)},
        "median filter": {f"width {width}": partial(median_filter, width=width) for width in (1, 3, 5, 7)},
        "PCA": on_clean | pca("noisy", train),
    }.items():
        setting = chosen(candidates, data.validation.x[:2000], validation[:2000])
        found[name] = (candidates[setting](test).clamp(0, 1), setting)
    return found | {name: (at_mean_code(vae, test).clamp(0, 1), "") for name, vae in networks.items()}


def corrupted(x: torch.Tensor, corruption: Corruption, seed: int) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return corruption.corrupt(x)


def gaussian_filter(x: torch.Tensor, sd: float) -> torch.Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, sd, sd)))


def median_filter(x: torch.Tensor, width: int) -> torch.Tensor:
    return torch.from_numpy(ndimage.median_filter(x.numpy(), (1, 1, width, width)))


def pca(fitted_on: str, x: torch.Tensor) -> dict[str, Denoiser]:
    """Projections onto the first principal components of x, for ranks in a geometric series."""
    fitted = PCA(random_state=0).fit(x.flatten(1))
    mean, components = (torch.from_numpy(a).float() for a in (fitted.mean_, fitted.components_))
    ranks = np.unique(np.geomspace(1, len(components), 40).round().astype(int))
    return {f"rank {rank}, {fitted_on}": partial(project, mean=mean, components=components[:rank]) for rank in ranks}


def project(x: torch.Tensor, mean: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
    return ((x.flatten(1) - mean) @ components.T @ components + mean).reshape(x.shape)


def chosen(candidates: dict[str, Denoiser], clean: torch.Tensor, noisy: torch.Tensor) -> str:
    """The setting with the highest mean PSNR."""

    def psnr(setting: str) -> float:
        errors = (candidates[setting](noisy).clamp(0, 1) - clean).square().flatten(1).mean(1)
        return -errors.log10().mean().item()

    return max(candidates, key=psnr)


@torch.no_grad()
def at_mean_code(vae: ppl_vae.VAE, x: torch.Tensor) -> torch.Tensor:
    """E[x' | z] at the mean of q(z | x): of an autoencoder, its reconstruction."""
    return torch.cat([vae.decode(vae.encode(part).mean).mean.cpu() for part in x.split(1000)])


def scored(data: ppl_vae.data.Data, row: dict[str, Restored]) -> pd.DataFrame:
    """PSNR and SSIM of every method for one noise, and how far its PSNR is behind the denoising autoencoder's."""
    quality = {name: image_quality(data.test.x, x_hat, data_range=1.0) for name, (x_hat, _) in row.items()}
    scores = {}
    for name, (_, setting) in row.items():
        behind = quality[BEST].psnr - quality[name].psnr
        columns = {**quality[name], "behind": behind}
        means = {key: values.mean() for key, values in columns.items()}
        errors = {f"{key}_se": values.sem() for key, values in columns.items()}
        scores[name] = {key: (means | errors)[key] for stem in columns for key in (stem, f"{stem}_se")}
        scores[name]["setting"] = setting
    return pd.DataFrame(scores.values(), index=pd.Index(scores, name="method"))


def pictures(
    data: ppl_vae.data.Data, rows: dict[str, dict[str, Restored]], scores: dict[str, pd.DataFrame], n: int = 3
) -> Figure:
    """The first test images under every noise, clean and as every method restored them."""
    methods = list(next(iter(rows.values())))
    clean = data.test.x[:n]
    cells = torch.stack([torch.stack([clean, *(x_hat[:n] for x_hat, _ in row.values())]) for row in rows.values()])
    nothing = np.full((len(rows), 1), np.nan)
    written = {
        key: np.hstack([nothing, np.stack([s[key].to_numpy() for s in scores.values()])]) for key in ("psnr", "ssim")
    }
    figure = Figure(figsize=(2 + 1.55 * (1 + len(methods)), 0.9 + 0.72 * len(rows)), layout="constrained")
    names = [name.replace(" ", "\n", 1) for name in ("clean", *methods)]
    labels = [name.replace(", ", "\n") for name in rows]
    ax = plots.denoising(cells, rows=labels, columns=names, **written, ax=figure.subplots(), vmin=0, vmax=1)
    ax.set_xlabel(f"below each: mean PSNR and SSIM over {len(data.test):,} test images of {data.name}")
    return figure


if __name__ == "__main__":
    main()
