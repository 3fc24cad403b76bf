"""How good are imputations of real tables of which half is missing, and do their intervals hold what they say?

Six tables: concrete strength, red wine and energy efficiency of UCI (all columns), and scikit-learn's breast cancer,
diabetes and wine. Of each, every element is hidden with probability 1/2, whatever its value (MCAR), five times over.
This is the protocol of MIWAE (Mattei & Frellsen 2019, arXiv:1812.02633, section 5.3): methods learn from the incomplete
table itself, all of its rows, and are scored on the elements they never saw.

The score is the standardized mean squared error: the mean over all hidden elements of the table of
((imputed - true) / sd)^2, where sd is the standard deviation of the complete column, so that the column's mean scores
1. What methods are given is standardized by the observed elements alone.

Ours is MIWAE: a VAE whose encoder sees the mask, trained by the importance-weighted bound of the observed elements, and
imputations by self-normalized importance weights. A tenth of the observed elements is left out of training, and the
weights under which they have the highest log p are kept; imputations are given all that was observed. With `--members`
above 1 several such VAEs, of other seeds and other elements left out, make an ensemble: the mean of their means, and
intervals of all their draws. The settings are the same for all tables.

Beside it: the mean of the column, KNNImputer, IterativeImputer (BayesianRidge, its default), and IterativeImputer with
ExtraTreesRegressor of 10 trees, which stands for MissForest in scikit-learn's user guide; all else at its default.

An interval of a column with few values holds more than its probability: it cannot leave out a part of a value. So
coverage is given three times: for all columns, for those with at least 30 distinct values, and for all again as the
randomized interval has it, which leaves out a part of a value at its ends (Czado, Gneiting & Held 2009,
doi:10.1111/j.1541-0420.2009.01191.x; `imputation_scores` says how). For that draws of a column with fewer values are
rounded to the nearest of those that were observed in it.

    python experiments/imputation.py --data-dir DIR --cache DIR --figure imputation.png --out imputation.json
"""

import argparse
import json
import os
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import results_file
import torch
from matplotlib.figure import Figure
from sklearn import datasets
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from ppl_vae import MLP, Gaussian, OneCycle, build, evaluate, fit, impute
from ppl_vae.data import Data, from_arrays
from ppl_vae.evaluation import Imputation, imputation_scores
from ppl_vae.objectives import IWAE
from ppl_vae.training import State

FILES = {"concrete": "concrete.csv", "wine_red": "wine_red.csv", "energy": "energy.csv"}
TABLES = (*FILES, "breast_cancer", "diabetes", "wine")
OURS, DEFAULT, TREES = "MIWAE (ppl_vae)", "IterativeImputer", "IterativeImputer, ExtraTrees"
MANY = 30
"""Distinct values of a column whose intervals can hold about what they say."""


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--data-dir", default=os.environ.get("PPL_VAE_DATA"), help="has tables/*.csv ($PPL_VAE_DATA)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--take", type=int, help="use only so many rows")
    parser.add_argument("--members", type=int, default=1, help="VAEs of an ensemble")
    parser.add_argument("--steps", type=int, default=1500, help="batches that each is trained on")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--particles", type=int, default=5, help="of the importance-weighted bound")
    parser.add_argument("--latent-dim", type=int, default=10)
    parser.add_argument("--hidden-dims", nargs="+", type=int, default=[128, 128])
    parser.add_argument("--peak", type=float, default=5e-3, help="largest learning rate")
    parser.add_argument("--num-samples", type=int, default=1000, help="draws of z for the weights of a row")
    parser.add_argument("--cache", type=Path, help="keep the scores of each table and seed here, and reuse them")
    results_file.add_outputs(parser, figure="figure of the scores")
    args = parser.parse_args(argv)

    found = pd.concat([cached(table, seed, args) for seed in args.seeds for table in args.tables], ignore_index=True)
    summary = summarized(found)
    for score in ("mse", "coverage", "coverage_many", "coverage_randomized"):
        print("", score, summary[score].unstack("method").to_string(float_format="{:.3f}".format), sep="\n")
    below = {other: int((difference(found, other)["mean"] < 0).sum()) for other in (DEFAULT, TREES)}
    print("", f"{OURS} has the smaller error on, of {len(args.tables)} tables: {below}", sep="\n", flush=True)
    results = {
        "command": results_file.command(__file__, argv),
        "units": {"mse": "of standardized columns", "coverage": "share inside 95 % intervals"},
        "mean and standard error over seeds": nested(summary),
        "ours less theirs, mse, paired by seed": {
            other: json.loads(difference(found, other).to_json(orient="index")) for other in (DEFAULT, TREES)
        },
        "tables with the smaller error": below,
        "number of seeds": json.loads(
            found[found.method == OURS].groupby("table")[["mse", "coverage", "coverage_randomized"]].count().to_json()
        ),
        "mean coverage of the tables": found[found.method == OURS].coverage.mean(),
        "each": json.loads(found.to_json(orient="records")),
        "threads": torch.get_num_threads(),
        "versions": results_file.versions("scikit-learn"),
    }
    if args.figure:
        results_file.draw(picture(summary, args.tables), args.figure, dpi=100)
    results_file.write(results, args.out)
    return results


def complete(table: str, args: argparse.Namespace) -> np.ndarray:
    """All of a table, (rows, columns)."""
    if table in FILES:
        if not args.data_dir:
            raise SystemExit(f"{table} expects a folder with tables/{FILES[table]}, got none; give --data-dir")
        x = pd.read_csv(Path(args.data_dir) / "tables" / FILES[table]).to_numpy(float)
    else:
        x = getattr(datasets, f"load_{table}")().data
    return x[: args.take]


def cached(table: str, seed: int, args: argparse.Namespace) -> pd.DataFrame:
    """Scores of every method on one table with one half hidden, computed once for the same settings."""

    def scores() -> list[dict]:
        found = compared(table, seed, args)
        print("", f"{table}, seed {seed}", found.to_string(float_format="{:.3f}".format), sep="\n", flush=True)
        return found.to_dict(orient="records")

    settings = results_file.settings_of(args, "tables", "seeds")
    return pd.DataFrame(results_file.kept(args.cache, f"{table}_{seed}", settings, scores))


def compared(table: str, seed: int, args: argparse.Namespace) -> pd.DataFrame:
    """One row of scores for each method."""
    x = complete(table, args)
    missing = np.random.default_rng(seed).random(x.shape) < 0.5
    known = np.where(missing, np.nan, x)
    mean, sd = np.nanmean(known, 0), np.nanstd(known, 0)
    rows = []
    for method, imputer in baselines().items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of 10 rounds, as IterativeImputer has by default
            filled = imputer.fit_transform((known - mean) / sd) * sd + mean
        error = ((filled - x) / x.std(0))[missing]
        rows.append({"method": method, "mse": float(np.square(error).mean()), "seconds": time.perf_counter() - start})
    start = time.perf_counter()
    rows.append({"method": OURS, **ours(x, known, seed, args), "seconds": time.perf_counter() - start})
    return pd.DataFrame([{"table": table, "seed": seed, **row} for row in rows])


def baselines() -> dict:
    trees = ExtraTreesRegressor(n_estimators=10, random_state=0)
    return {
        "mean": SimpleImputer(),
        "KNNImputer": KNNImputer(),
        DEFAULT: IterativeImputer(random_state=0),
        TREES: IterativeImputer(trees, random_state=0),
    }


def ours(x: np.ndarray, known: np.ndarray, seed: int, args: argparse.Namespace) -> dict:
    """Scores of an ensemble on x (rows, columns), of which it is given what is `known`."""
    members = [member(known, args.members * seed + i, args) for i in range(args.members)]
    first = members[0]
    pooled = replace(
        first,
        mean=torch.stack([one.mean for one in members]).mean(0),
        draws=torch.cat([one.draws for one in members]),
    )
    truth = torch.from_numpy(x).to(pooled.mean)
    scores = imputation_scores(pooled, truth)
    many = np.array([len(np.unique(column)) >= MANY for column in x.T])
    each, total = scores.iloc[:-1], scores.loc["all"]
    rounded = replace(pooled, draws=nearest(pooled.draws, torch.from_numpy(known).to(pooled.mean)))
    return {
        "mse": float(total.rmse_standardized**2),
        "coverage": float(total.coverage),
        "coverage_many": float(np.average(each.coverage[many], weights=each.elements[many])) if many.any() else None,
        "columns_many": int(many.sum()),
        "coverage_randomized": float(imputation_scores(rounded, truth).loc["all"].coverage_randomized),
        "bad_k": float(np.mean([one.unreliable for one in members])),
        "mse_of_one": float(imputation_scores(first, truth).loc["all"].rmse_standardized ** 2),
    }


def nearest(draws: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Draws (num_draws, rows, columns), of columns with few values in `known` (rows, columns) the nearest of these."""
    draws = draws.clone()
    for j, column in enumerate(known.T):
        values = column[~column.isnan()].unique()
        if 1 < len(values) < MANY:
            between = (values[1:] + values[:-1]) / 2
            draws[..., j] = values[torch.bucketize(draws[..., j].contiguous(), between)]
    return draws


def member(known: np.ndarray, seed: int, args: argparse.Namespace) -> Imputation:
    """Imputations, in raw units, by one VAE, trained without a tenth of the known elements."""
    left_out = np.random.default_rng([seed, 1]).random(known.shape) < 0.1
    data = from_arrays(np.where(left_out, np.nan, known), x_validation=known, x_test=known).standardize()
    net = partial(MLP, hidden_dims=tuple(args.hidden_dims), activation="tanh")
    vae = build(
        data,
        latent_dim=args.latent_dim,
        likelihood=partial(Gaussian, scale="elementwise"),
        encoder=net,
        decoder=net,
        seed=seed,
    )
    epochs = max(1, args.steps // -(-len(known) // args.batch_size))
    best = Best(data, every=max(1, epochs // 5))
    fit(
        vae,
        data.train,
        epochs=epochs,
        batch_size=args.batch_size,
        objective=IWAE(args.particles),
        schedule=OneCycle(peak=args.peak),
        seed=seed,
        device="cpu",
        callbacks=[best],
        progress=False,
    )
    vae.load_state_dict(best.weights)
    return impute(vae, data.test, num_draws=100, num_samples=args.num_samples, seed=seed, progress=False).raw


class Best:
    """Keeps the weights with the highest log p of the elements that were left out, looked at every few epochs.

    It is log p(all that is known) - log p(what was trained on), so that both means and spreads count.
    """

    def __init__(self, data: Data, every: int) -> None:
        self.data, self.every, self.score = data, every, -float("inf")

    def __call__(self, state: State) -> None:
        if state.epoch % self.every:
            return
        with_them, without = (
            evaluate(state.program, split, num_samples=200, seed=0, progress=False).per_datum.log_px.mean()
            for split in (self.data.test, self.data.train)
        )
        if with_them - without > self.score:
            self.score = with_them - without
            self.weights = {name: value.clone() for name, value in state.program.state_dict().items()}


def summarized(found: pd.DataFrame) -> pd.DataFrame:
    """Means and standard errors over seeds, by table and method."""
    by = found.groupby(["table", "method"], sort=False)
    scores = [name for name in found.columns if name not in ("table", "method", "seed")]
    errors = by[scores].sem().add_suffix("_se")
    return by[scores].mean().join(errors)


def difference(found: pd.DataFrame, other: str) -> pd.DataFrame:
    """The error of ours less that of another method: mean and standard error over seeds, by table."""
    mse = found.pivot(index=["table", "seed"], columns="method", values="mse")
    return (mse[OURS] - mse[other]).groupby("table", sort=False).agg(["mean", "sem"])


def nested(summary: pd.DataFrame) -> dict:
    rows = json.loads(summary.reset_index().to_json(orient="records"))
    made: dict = {}
    for row in rows:
        table, method = row.pop("table"), row.pop("method")
        made.setdefault(table, {})[method] = {name: value for name, value in row.items() if value is not None}
    return made


def picture(summary: pd.DataFrame, tables: list[str]) -> Figure:
    """Errors of every method, and the coverage of our intervals, by table."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    methods = list(dict.fromkeys(summary.index.get_level_values("method")))
    for i, method in enumerate(methods):
        one = summary.xs(method, level="method").loc[tables]
        places = np.arange(len(tables)) + 0.14 * (i - (len(methods) - 1) / 2)
        left.errorbar(places, one.mse, 2 * one.mse_se, fmt="o", markersize=4, label=method)
    left.set_xticks(range(len(tables)), [t.replace("_", " ") for t in tables])
    left.set_ylabel("mean squared error of hidden elements,\nstandardized (mean of the column: 1)")
    left.legend(fontsize=8)
    one = summary.xs(OURS, level="method").loc[tables]
    for i, (name, label) in enumerate(
        {
            "coverage": "all columns",
            "coverage_many": f"columns of {MANY} values up",
            "coverage_randomized": "all columns, randomized",
        }.items()
    ):
        places = np.arange(len(tables)) + 0.2 * (i - 1)
        right.errorbar(
            places, one[name].astype(float), 2 * one[f"{name}_se"].astype(float), fmt="o", markersize=4, label=label
        )
    right.axhspan(0.93, 0.97, color="0.9", zorder=0)
    right.axhline(0.95, color="black", linewidth=0.8)
    right.set_xticks(range(len(tables)), [t.replace("_", "\n") for t in tables], fontsize=7)
    right.set_ylabel("share of hidden elements in 95 % intervals")
    right.set_ylim(0.88, 1)
    figure.supxlabel("means over the seeds; bars are two standard errors over the seeds to each side", fontsize=8)
    right.legend(fontsize=8, loc="lower center")
    return figure


if __name__ == "__main__":
    main()
