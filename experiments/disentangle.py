"""Does a larger beta disentangle the factors of sprites, and how much reconstruction does it cost?

A beta-VAE (Higgins et al. 2017) multiplies KL(q(z | x) || p(z)) by beta. On sprites of known shape, scale, orientation
and position each latent unit is scored against each factor by MIG (Chen et al. 2018, arXiv:1802.04942), SAP (Kumar et
al. 2018, arXiv:1711.00848) and DCI (Eastwood and Williams 2018), together with the reconstruction log p(x | z). Each
beta is trained with several seeds, because scores vary between seeds about as much as between betas (Locatello et al.
2019, arXiv:1811.12359): compare betas with the standard errors. Choosing beta by such a score needs known factors.

    python experiments/disentangle.py --figure disentangle.png --out disentangle.json
"""

import argparse
import json
import time
from functools import partial

import numpy as np
import pandas as pd
import results_file
import torch
from matplotlib.figure import Figure

import ppl_vae
from ppl_vae import MLP, Bernoulli, plots
from ppl_vae.evaluation import FactorScores, disentanglement

STYLES = {  # label and colour of each score
    "mig": ("MIG", "#3f90da"),
    "sap": ("SAP", "#ffa90e"),
    "disentanglement": ("DCI disentanglement", "#bd1f01"),
    "completeness": ("DCI completeness", "#832db6"),
    "informativeness": ("DCI informativeness", "#717581"),
}


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--betas", type=float, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--hidden-dim", type=int, default=256, help="width of the two layers of each network")
    parser.add_argument("--train", type=int, default=8000, help="sprites to train on")
    parser.add_argument("--test", type=int, default=2000, help="sprites to score")
    parser.add_argument("--peak", type=float, default=3e-3, help="largest learning rate")
    parser.add_argument("--device", default="cpu")
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    data = ppl_vae.data.load("sprites", likelihood=Bernoulli).take(train=args.train, test=args.test)
    runs = {(beta, seed): run(data, beta, seed, args) for beta in args.betas for seed in args.seeds}
    rows = pd.DataFrame([row for _, _, row in runs.values()])
    table = rows.drop(columns=["seed", "cpu_seconds"]).groupby("beta").agg(["mean", "sem"])
    print(
        f"\nMean over {len(args.seeds)} seeds and its standard error: scores 0 to 1, the rest in nats",
        table.round(3).to_string(),
        sep="\n",
    )
    best = max(runs, key=lambda of: runs[of][2]["mig"])
    print(f"\nThe largest MIG: beta = {best[0]:g}, seed {best[1]}", runs[best][1], sep="\n")
    found = {
        "command": results_file.command(__file__, argv),
        "runs": rows.to_dict("records"),
        "table": {
            f"{beta:g}": {score: list(table.loc[beta, score]) for score in table.columns.levels[0]}
            for beta in table.index
        },
        "best": {"beta": best[0], "seed": best[1], "importance": json.loads(runs[best][1].importance.to_json())},
        "data": {"identity": data.test.identity, "provenance": data.test.provenance},
        "versions": results_file.versions(),
    }
    if args.figure:
        results_file.draw(draw(table, runs[best], data.test), args.figure, dpi=90)
    results_file.write(found, args.out)
    return found


def run(data: ppl_vae.data.Data, beta: float, seed: int, args: argparse.Namespace):
    start = time.process_time()
    net = partial(MLP, hidden_dims=(args.hidden_dim, args.hidden_dim))
    vae = ppl_vae.build(data, latent_dim=args.latent_dim, likelihood=Bernoulli, encoder=net, decoder=net, seed=seed)
    ppl_vae.fit(
        vae,
        data.train,
        epochs=args.epochs,
        batch_size=128,
        beta=beta,
        schedule=ppl_vae.OneCycle(peak=args.peak),
        seed=seed,
        device=args.device,
        progress=False,
    )
    scores = disentanglement(vae, data.test, num_bootstrap=0, seed=seed)
    terms = ppl_vae.evaluate(vae, data.test, num_samples=10, seed=seed, progress=False).summary["mean"]
    row = {
        "beta": beta,
        "seed": seed,
        **scores.summary.score.to_dict(),
        "reconstruction": terms["reconstruction"],
        "kl": terms["kl_z"],
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    print(", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    return vae, scores, row


def draw(table: pd.DataFrame, best: tuple[ppl_vae.VAE, FactorScores, dict], test: ppl_vae.split.Split) -> Figure:
    """Scores and their price against beta; of one model what its units stand for, and what they do."""
    vae, scores, row = best
    figure = Figure(figsize=(14, 9), layout="constrained")
    (judged, paid), (matrix, moved) = figure.subplots(2, 2)
    for score, (label, colour) in STYLES.items():
        mean, error = table[score]["mean"], table[score]["sem"]
        judged.errorbar(table.index, mean, error.fillna(0), color=colour, marker="o", capsize=3, label=label)
    judged.set(xscale="log", ylim=(0, 1), xlabel="beta", ylabel="score", title="mean over seeds ± standard error")
    judged.legend(fontsize="small")
    for term, colour, sign in (("reconstruction", "#bd1f01", -1), ("kl", "#3f90da", 1)):
        mean, error = sign * table[term]["mean"], table[term]["sem"]
        label = "−E[log p(x | z)]" if sign < 0 else "KL(q(z | x) ‖ p(z))"
        paid.errorbar(table.index, mean, error.fillna(0), color=colour, marker="o", capsize=3, label=label)
    paid.set(xscale="log", xlabel="beta", ylabel="nats per datum", title="what it costs")
    paid.legend(fontsize="small")
    for ax in (judged, paid):
        ax.set_xticks(table.index, [f"{beta:g}" for beta in table.index])
        ax.minorticks_off()
        ax.grid(alpha=0.25)
    told = [f"{factor}: {value:.2f}" for factor, value in scores.per_factor.informativeness.items()]
    plots.factor_importance(
        scores.importance, factors=told, labelled="share in the prediction of the factor", ax=matrix
    )
    matrix.set_xlabel("factor: its informativeness (1 if predicted without error, 0 if by chance)")
    matrix.set_title(f"largest MIG ({row['mig']:.2f}): beta = {row['beta']:g}, seed {row['seed']}")
    values = torch.linspace(-2, 2, 9)
    plots.traversals(
        walks(vae, test, values), values=values, units=scores.importance.index.str[2:-1], vmin=0, vmax=1, ax=moved
    )
    moved.set_title("the same model: E[x | z] as one unit moves, from one sprite's code")
    return figure


def walks(vae: ppl_vae.VAE, test: ppl_vae.split.Split, values: torch.Tensor) -> np.ndarray:
    """E[x | z] (units, values, 1, 32, 32) along each unit, from the code of a large ellipse near the middle."""
    sought = torch.tensor([1, 1, 0.8, 0.5, 0.5])
    device = next(vae.parameters()).device
    start = test.x[(test.factors - sought).abs().sum(1).argmin()][None].to(device)
    with torch.no_grad():
        z = vae.encode(start).mean  # (1, units)
        unit = torch.eye(z.shape[1], device=device)[:, None]  # (units, 1, units)
        return vae.decode(torch.where(unit == 1, values.to(device)[:, None], z)).mean.cpu().numpy()


if __name__ == "__main__":
    main()
