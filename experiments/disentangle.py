"""Which objective disentangles the factors of sprites, and how much reconstruction does it cost?

A beta-VAE (Higgins et al. 2017) multiplies KL(q(z | x) || p(z)) by beta, a beta-TCVAE (Chen et al. 2018) the total
correlation of q(z) alone, and annealed capacity (Burgess et al. 2018) holds the KL near a number of nats that grows. On
sprites of known shape, scale, orientation and position each latent unit is scored against each factor by MIG (Chen et
al. 2018, arXiv:1802.04942), SAP (Kumar et al. 2018, arXiv:1711.00848), DCI (Eastwood and Williams 2018) and the score
of FactorVAE (Kim and Mnih 2018, arXiv:1802.05983), together with the reconstruction log p(x | z). Each method is
trained with several seeds, because scores vary between seeds about as much as between methods (Locatello et al. 2019,
arXiv:1811.12359): compare methods with the standard errors. Choosing one by such a score needs known factors.

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
from ppl_vae.evaluation import FactorScores, disentanglement, factor_vae_score
from ppl_vae.objectives import BetaTCVAE, Capacity, Linear

METHODS = ("beta-VAE 1", "beta-VAE 4", "beta-VAE 8", "beta-TCVAE 8", "capacity 10")
STYLES = {  # label and colour of each score
    "mig": ("MIG", "#3f90da"),
    "sap": ("SAP", "#ffa90e"),
    "disentanglement": ("DCI disentanglement", "#bd1f01"),
    "completeness": ("DCI completeness", "#832db6"),
    "informativeness": ("DCI informativeness", "#717581"),
    "factor_vae": ("FactorVAE", "#3f8f29"),
}


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    about = "names with beta, or with the nats of the KL at the end (capacity)"
    parser.add_argument("--methods", nargs="+", default=METHODS, help=about)
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
    runs = {(method, seed): run(data, method, seed, args) for method in args.methods for seed in args.seeds}
    rows = pd.DataFrame([row for _, _, row in runs.values()])
    table = rows.drop(columns=["seed", "cpu_seconds"]).groupby("method", sort=False).agg(["mean", "sem"])
    print(
        f"\nMean over {len(args.seeds)} seeds and its standard error: scores 0 to 1, the rest in nats",
        table.round(3).to_string(),
        sep="\n",
    )
    best = max(runs, key=lambda of: runs[of][2]["mig"])
    print(f"\nThe largest MIG: {best[0]}, seed {best[1]}", runs[best][1], sep="\n")
    found = {
        "command": results_file.command(__file__, argv),
        "runs": rows.to_dict("records"),
        "table": {
            method: {score: list(table.loc[method, score]) for score in table.columns.levels[0]}
            for method in table.index
        },
        "best": {"method": best[0], "seed": best[1], "importance": json.loads(runs[best][1].importance.to_json())},
        "data": {"identity": data.test.identity, "provenance": data.test.provenance},
        "versions": results_file.versions(),
    }
    if args.figure:
        results_file.draw(draw(table, runs[best], data.test), args.figure, dpi=90)
    results_file.write(found, args.out)
    return found


def objective(method: str, epochs: int) -> dict:
    """The arguments of `fit` for a method, named as in `METHODS`."""
    name, _, number = method.rpartition(" ")
    amount = float(number)
    known = {
        "beta-VAE": lambda: {"beta": amount},
        "beta-TCVAE": lambda: {"objective": BetaTCVAE(amount, "stratified")},
        "capacity": lambda: {"objective": Capacity(amount, weight=30), "beta": Linear(0.7 * epochs)},
    }
    if name not in known:
        raise SystemExit(f"--methods expects names as {', '.join(METHODS)}, got {method!r}; write 'beta-VAE 4', say")
    return known[name]()


def run(data: ppl_vae.data.Data, method: str, seed: int, args: argparse.Namespace):
    start = time.process_time()
    net = partial(MLP, hidden_dims=(args.hidden_dim, args.hidden_dim))
    vae = ppl_vae.build(data, latent_dim=args.latent_dim, likelihood=Bernoulli, encoder=net, decoder=net, seed=seed)
    ppl_vae.fit(
        vae,
        data.train,
        epochs=args.epochs,
        batch_size=128,
        **objective(method, args.epochs),
        schedule=ppl_vae.OneCycle(peak=args.peak),
        seed=seed,
        device=args.device,
        progress=False,
    )
    scores = disentanglement(vae, data.test, num_bootstrap=0, seed=seed)
    with torch.no_grad():
        codes = vae.encode(data.test.x.to(next(vae.parameters()).device)).mean.cpu().numpy()
    terms = ppl_vae.evaluate(vae, data.test, num_samples=10, seed=seed, progress=False).summary["mean"]
    row = {
        "method": method,
        "seed": seed,
        **scores.summary.score.to_dict(),
        "factor_vae": factor_vae_score(codes, data.test.factors.numpy(), seed=seed),
        "reconstruction": terms["reconstruction"],
        "kl": terms["kl_z"],
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    print(", ".join(f"{k} {v if isinstance(v, str) else format(v, '.4g')}" for k, v in row.items()), flush=True)
    return vae, scores, row


def draw(table: pd.DataFrame, best: tuple[ppl_vae.VAE, FactorScores, dict], test: ppl_vae.split.Split) -> Figure:
    """Scores and their price by method; of one model what its units stand for, and what they do."""
    vae, scores, row = best
    figure = Figure(figsize=(14, 9), layout="constrained")
    (judged, paid), (matrix, moved) = figure.subplots(2, 2)
    places = np.arange(len(table))
    for number, (score, (label, colour)) in enumerate(STYLES.items()):
        mean, error = table[score]["mean"], table[score]["sem"]
        beside = places + 0.1 * (number - (len(STYLES) - 1) / 2)
        judged.errorbar(beside, mean, error.fillna(0), color=colour, fmt="o", capsize=3, label=label)
    judged.set(ylim=(0, 1), ylabel="score", title="mean over seeds ± standard error")
    judged.legend(fontsize="small", ncols=2)
    for term, colour, sign in (("reconstruction", "#bd1f01", -1), ("kl", "#3f90da", 1)):
        mean, error = sign * table[term]["mean"], table[term]["sem"]
        label = "−E[log p(x | z)]" if sign < 0 else "KL(q(z | x) ‖ p(z))"
        paid.errorbar(places, mean, error.fillna(0), color=colour, fmt="o", capsize=3, label=label)
    paid.set(ylim=(0, None), ylabel="nats per datum", title="what it costs")
    paid.legend(fontsize="small")
    for ax in (judged, paid):
        ax.set_xticks(places, table.index, rotation=25, ha="right")
        ax.grid(alpha=0.25)
    told = [f"{factor}: {value:.2f}" for factor, value in scores.per_factor.informativeness.items()]
    plots.factor_importance(
        scores.importance, factors=told, labelled="share in the prediction of the factor", ax=matrix
    )
    matrix.set_xlabel("factor: its informativeness (1 if predicted without error, 0 if by chance)")
    matrix.set_title(f"largest MIG ({row['mig']:.2f}): {row['method']}, seed {row['seed']}")
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
