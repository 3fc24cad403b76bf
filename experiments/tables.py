"""Does a VAE of a table of mixed columns with missing values predict and impute better than what is used for these?

Adult as HI-VAE (Nazabal et al. 2020, arXiv:1807.03653) prepared it: 32,561 people, 12 columns, of which the 20 % of the
entries that its first mask names are hidden. Rows are split at random into training, validation and test rows; nothing
hidden is seen by any method, nor by the split that chooses settings.

Kinds of the columns are those of HI-VAE's types file, but for five. Age, education, hours, capital gain and loss are
categories, the values that occur, with a probability for each: 47 % work 40 hours exactly, 92 % have no gain, 95 % no
loss, and the other gains and losses are 118 and 91 amounts that repeat. A density of a value that is repeated so often
has no bound, a negative binomial is too wide, and an ordered logistic moves all levels by one number. So every column
but fnlwgt is scored by a mass, fnlwgt by a density in its raw units, that of a gamma distribution: a log-normal is 0.05
nats worse already as its marginal.

Two scores on the test rows:

- NLL of each column, -log p(x_j | the other observed entries of the row), the mean over the observed entries of the
  column, in nats: of the VAE by importance sampling (`ppl_vae.evaluation.per_column`), of the others exactly. The sum
  over columns is minus a pseudo-likelihood (Besag 1975), no log p(x).
- Errors of the hidden entries, imputed given the observed ones: the share of wrong values of categories, else the root
  mean squared error over the standard deviation of the training data. The total is the mean over the columns. The
  hidden entries of training rows are scored, too, as is usual for imputation: they are as unknown to all methods as
  those of test rows, and ten times as many, which columns of which the others say little need. The errors of the test
  rows are reported apart. `against_mode_or_mean` is the difference of the losses, wrong or squared, entry by entry,
  relative to the loss of mode or mean, with its standard error.

The VAE is trained by the ELBO with the KL in closed form, then for some epochs by the importance-weighted bound, which
has no reason to make p(z | x) simple. The latent dimension is the one with the highest bound on validation rows.
Imputed numbers are sum_k v_k P(x_j = k | x_observed) of the values v_k of the levels.

Beside it stand the fitted marginals of each column (a mixture with one component); a mixture of independent columns
fitted by EM, naive Bayes with a hidden class, whose number of components, and whether fnlwgt is gamma or log-normal in
it, are the best on validation rows; mode or mean; scikit-learn's IterativeImputer on standardized numbers and
categories that are coded one-hot, or by numbers in their place; and scikit-learn's histogram gradient boosting, one
model for each column, which predicts it from the others, gaps included: it says how much they tell of the column.

With `--work DIR` what is finished is kept there, and the command can be given again after an interruption.

    python experiments/tables.py --data-dir DIR --work work --figure tables.png --out tables.json
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import results_file
import torch
from matplotlib.figure import Figure
from scipy.sparse import coo_array
from scipy.special import digamma, gammaln, logsumexp, polygamma
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

import ppl_vae
from ppl_vae import MLP, Heterogeneous, OneCycle
from ppl_vae.data.store import find_root
from ppl_vae.likelihoods import Gamma
from ppl_vae.objectives import IWAE, TraceMeanField_ELBO

NAMES = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours",
)
LEVELS = ("age", "education", "capital_gain", "capital_loss", "hours")
DENSITIES = ("gamma", "log-normal")
STRENGTH = 3.0
"""Pseudo-counts of the mixture."""

ROLES = ("test", "validation", "train")
BOOSTED = "gradient boosting, one model a column"
UNORDERED = ("workclass", "marital_status", "occupation", "relationship", "race", "sex")


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA), with tables/adult.csv")
    parser.add_argument("--rows", type=int, help="use only so many rows")
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[10], help="the best on validation is taken")
    parser.add_argument("--hidden-dim", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=50, help="by the ELBO")
    parser.add_argument("--bound-epochs", type=int, default=25, help="then by the importance-weighted bound")
    parser.add_argument("--particles", type=int, default=8, help="of the bound")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--components", type=int, nargs="+", default=[10, 20, 40], help="the same, of the mixture")
    parser.add_argument("--num-samples", type=int, default=300, help="draws from q a row")
    parser.add_argument("--scored", type=int, help="score the NLL on so many of the test rows")
    parser.add_argument("--imputed", type=int, help="impute so many rows, test rows first; all if not given")
    parser.add_argument("--work", type=Path, help="keep run folders and finished parts here, and go on from them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    results_file.add_outputs(parser, figure="figure of the columns")
    args = parser.parse_args(argv)

    start = time.perf_counter()
    data, truth = read(find_root(args.data_dir) / "tables", args.rows, args.seed)
    data = data.standardize()
    print(data.columns, data, sep="\n", flush=True)
    vae, chosen = trained(data, args)
    scored = data.test if args.scored is None else data.test[: args.scored]
    nll, components = nlls(vae, data, scored, args)
    tables = imputed(vae, data, truth, args)
    errors = tables["errors"]
    found = {
        "command": results_file.command(__file__, argv),
        "units": {
            "nll": "nats per observed entry of a test row, given the others",
            "errors": "share wrong of categories, else RMSE over the standard deviation, of hidden entries",
            "against_mode_or_mean": "difference of the mean losses, wrong or squared, over that of mode or mean",
        },
        "chosen": chosen | components,
        "nll": json.loads(nll.to_json(orient="index")),
        **{name: json.loads(table.to_json(orient="index")) for name, table in tables.items()},
        "total": {
            "nll": nll[["VAE", "mixture", "marginals"]].sum().to_dict(),
            "errors": errors.drop(columns=["hidden", "error"]).mean().to_dict(),
        },
        "formula": vae.formula(),
        "data": {"provenance": {k: v for k, v in data.provenance.items() if k != "columns"}, "scored": len(scored)},
        "versions": results_file.versions("scikit-learn"),
        "threads": torch.get_num_threads(),
        "seconds": None if args.work else round(time.perf_counter() - start),  # parts may have been there before
    }
    for name, table in {"NLL in nats": nll, **tables}.items():
        print(f"\n{name}", table.to_string(float_format="{:.3f}".format), sep="\n")
    print("\nTotals", json.dumps(found["total"], indent=1), sep="\n")
    if args.figure:
        results_file.draw(drawn(nll, errors), args.figure, dpi=110)
    results_file.write(found, args.out)
    return found


def read(folder: Path, num_rows: int | None, seed: int) -> tuple[ppl_vae.data.Data, ppl_vae.data.Data]:
    """Adult with its hidden entries missing, and as it was, with gaps where nothing was ever known."""
    frame = pd.read_csv(folder / "adult.csv", header=None, names=NAMES)
    row, column = pd.read_csv(folder / "adult_missing20.csv", header=None).to_numpy().T - 1
    hidden = np.zeros(frame.shape, dtype=bool)
    hidden[row, column] = True
    kinds = [told(one, frame) for one in ppl_vae.data.from_frame(frame, kinds=folder / "adult_types.csv").columns]
    order = np.random.default_rng(seed).permutation(len(frame))[:num_rows]
    rows = np.split(order, [8 * len(order) // 10, 9 * len(order) // 10])
    with_hidden, whole = ([of.iloc[some] for some in rows] for of in (frame.mask(hidden), frame))
    data, truth = (
        ppl_vae.data.from_frame(train, kinds, validation=validation, test=test, seed=seed, name="adult")
        for train, validation, test in (with_hidden, whole)
    )
    return data, truth


def told(column: ppl_vae.data.Column, frame: pd.DataFrame) -> ppl_vae.data.Column:
    """A column of HI-VAE's types file, or as categories: the values of all rows, as the file's classes are."""
    if column.name not in LEVELS:
        return column
    values = tuple(int(value) for value in np.unique(frame[column.name].dropna()))
    return replace(column, kind="categories", levels=len(values), categories=values, shift=0.0)


def with_gaps(split: ppl_vae.data.Split) -> np.ndarray:
    """x in raw units and codes, float64, NaN where missing."""
    raw = split.domain.raw(split.x.double())
    return torch.where(split.observed, raw, torch.nan).numpy()


def trained(data: ppl_vae.data.Data, args: argparse.Namespace) -> tuple[ppl_vae.VAE, dict[str, Any]]:
    """The VAE whose latent dimension has the highest bound, log p(x) by 100 draws, on validation rows."""
    found = {}
    for latent_dim in args.latent_dims:
        vae = ppl_vae.build(
            data,
            latent_dim=latent_dim,
            likelihood=partial(Heterogeneous, columns={"fnlwgt": Gamma}),
            encoder=partial(MLP, hidden_dims=(args.hidden_dim, args.hidden_dim)),
            decoder=partial(MLP, hidden_dims=(args.hidden_dim,)),
            seed=args.seed,
        )
        settings = {"batch_size": args.batch_size, "seed": args.seed, "device": args.device, "progress": False}
        # the bound is trained without validation data, by whose ELBO the best weights would be chosen
        parts = {
            "elbo": (data, args.epochs, TraceMeanField_ELBO(), 5e-3),
            "bound": (data.train, args.bound_epochs, IWAE(args.particles), 5e-3),
        }
        for name, (of, epochs, objective, peak) in parts.items():
            run = args.work and args.work / f"{name}_{latent_dim}"
            settings |= {"run": run, "resume": bool(run)}
            fitted = ppl_vae.fit(vae, of, epochs=epochs, objective=objective, schedule=OneCycle(peak), **settings)
            print(f"{latent_dim} latent units, {name}: {fitted}", flush=True)
        score = partial(ppl_vae.evaluate, vae, data.validation, num_samples=100, seed=args.seed, progress=False)
        bound = kept(f"validation_{latent_dim}", args, lambda score=score: float(score().per_datum.log_px.mean()))
        found[latent_dim] = bound, vae
        print(f"{latent_dim} latent units: log p(x) of validation rows {found[latent_dim][0]:.3f}", flush=True)
    best = max(found, key=lambda dim: found[dim][0])
    return found[best][1], {"latent_dim": best, "validation_bound": {dim: bound for dim, (bound, _) in found.items()}}


def kept(name: str, args: argparse.Namespace, compute: Callable[[], Any]) -> Any:
    """A table or array that is in the folder of finished parts for the same settings, else computed."""
    file = args.work and args.work / f"{name}.pickle"
    settings = results_file.settings_of(args, "work")
    if file and file.exists() and (before := pd.read_pickle(file))[0] == settings:
        return before[1]
    found = compute()
    if file:
        pd.to_pickle((settings, found), file)
    return found


class Mixture:
    """sum_k w_k prod_j p_jk(x_j), columns independent given k; a missing entry is left out of the product.

    Categories have frequencies, with `STRENGTH` pseudo-counts spread as in the marginal; fnlwgt has a gamma or a
    log-normal density.
    """

    def __init__(self, columns: Any, num_components: int, density: str) -> None:
        self.columns, self.num, self.density = columns, num_components, density

    def fit(self, x: np.ndarray, seed: int, most: int = 100, tolerance: float = 1e-4) -> Mixture:
        """By EM from random responsibilities, until the mean log p(x) grows by less than `tolerance`."""
        shares = np.random.default_rng(seed).dirichlet(np.full(self.num, 0.1), len(x))
        before = -np.inf
        for _ in range(most):
            self.weights = (shares.sum(0) + 1) / (len(x) + self.num)
            self.parameters = [self._estimate(c, v, shares) for c, v in zip(self.columns, x.T, strict=True)]
            log_joint = sum(self._each(x), np.log(self.weights))
            log_px = logsumexp(log_joint, axis=1)
            shares = np.exp(log_joint - log_px[:, None])
            if log_px.mean() - before < tolerance:
                break
            before = log_px.mean()
        return self

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        """log p_jk(x_ij), 0 where missing, (columns, rows, components)."""
        return np.stack(list(self._each(x)))

    def log_px(self, x: np.ndarray) -> np.ndarray:
        """log p of what was observed of each row."""
        return logsumexp(sum(self._each(x), np.log(self.weights)), axis=1)

    def nll(self, x: np.ndarray) -> np.ndarray:
        """-log p(x_j | the other observed entries), (rows, columns), NaN where missing."""
        log_joint = self.log_joint(x)
        total = log_joint.sum(0) + np.log(self.weights)
        others = logsumexp(total - log_joint, axis=2)
        return np.where(np.isnan(x), np.nan, (others - logsumexp(total, axis=1)).T)

    def _each(self, x: np.ndarray) -> Iterator[np.ndarray]:
        for column, values, parameters in zip(self.columns, x.T, self.parameters, strict=True):
            score = self._score(column, values, parameters)
            score[np.isnan(values)] = 0
            yield score

    def _estimate(self, column: Any, x: np.ndarray, shares: np.ndarray) -> Any:
        seen = ~np.isnan(x)
        x, shares = x[seen], shares[seen]
        if column.levels:
            codes = x.astype(int)
            marginal = (np.bincount(codes, minlength=column.levels) + 1) / (len(x) + column.levels)
            hits = coo_array((np.ones(len(x)), (codes, np.arange(len(x)))), (column.levels, len(x))).tocsr()
            counts = hits @ shares + STRENGTH * marginal[:, None]  # (levels, components)
            return np.log(counts / counts.sum(0))
        logs, num = np.log(x), shares.sum(0) + STRENGTH
        mean_log = (logs @ shares + STRENGTH * logs.mean()) / num
        if self.density == "gamma":  # Minka 2002, Estimating a Gamma distribution
            mean = (x @ shares + STRENGTH * x.mean()) / num
            s = np.log(mean) - mean_log
            k = (3 - s + np.sqrt((s - 3) ** 2 + 24 * s)) / (12 * s)
            for _ in range(4):
                k = 1 / (1 / k + (np.log(k) - digamma(k) - s) / (k - k**2 * polygamma(1, k)))
            return k, k / mean
        square = (shares * (logs[:, None] - mean_log) ** 2).sum(0)
        return mean_log, np.sqrt((square + STRENGTH * logs.var()) / num)

    def _score(self, column: Any, x: np.ndarray, parameters: Any) -> np.ndarray:
        x = np.nan_to_num(x, nan=1.0)[:, None]
        if column.levels:
            return parameters[x[:, 0].astype(int)]
        if self.density == "gamma":
            k, rate = parameters
            return k * np.log(rate) + (k - 1) * np.log(x) - rate * x - gammaln(k)
        mean, sd = parameters
        return -0.5 * ((np.log(x) - mean) / sd) ** 2 - np.log(sd * x) - 0.5 * np.log(2 * np.pi)


def nlls(
    vae: ppl_vae.VAE, data: ppl_vae.data.Data, scored: ppl_vae.data.Split, args: argparse.Namespace
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """NLL of each column given the others, of every method; and what was chosen of the mixtures."""
    each = {
        one: kept("mixture_{}_{}".format(*one), args, partial(of_mixture, *one, data, scored, args.seed))
        for one in product((1, *args.components), DENSITIES)
    }
    on_validation = {one: float(table["validation"].iloc[0]) for one, table in each.items()}
    best = max(each, key=lambda one: on_validation[one])
    alone = max(((1, density) for density in DENSITIES), key=lambda one: on_validation[one])
    print("mixture: mean log p(x_observed) of validation rows", on_validation, flush=True)
    names, options = list(data.columns.names), {"num_samples": args.num_samples, "seed": args.seed, "progress": False}
    score = partial(ppl_vae.evaluation.per_column, vae, scored, **options)
    own = pd.concat(kept(f"nll_{name}", args, partial(score, columns=[name])) for name in names)
    table = own[["observed", "base_measure"]].assign(
        VAE=own["nll"],
        mixture=each[best]["nll"],
        marginals=each[alone]["nll"],
        VAE_se=own["nll_se"],
        mixture_se=each[best]["nll_se"],
        VAE_mcse=own["nll_mcse"],
        k_hat_high=own["unreliable"],
    )
    said = {"components": best[0], "density": {"mixture": best[1], "marginals": alone[1]}}
    return table, said | {"validation_log_px": {f"{num}, {density}": v for (num, density), v in on_validation.items()}}


def of_mixture(num: int, density: str, data: ppl_vae.data.Data, scored: ppl_vae.data.Split, seed: int) -> pd.DataFrame:
    """NLL of each column under a mixture; and, in each row, its mean log p(x_observed) of the validation rows."""
    train, validation, test = map(with_gaps, (data.train, data.validation, scored))
    mixture = Mixture(data.columns, num, density).fit(train, seed)
    each = mixture.nll(test)
    se = np.nanstd(each, 0, ddof=1) / np.sqrt((~np.isnan(test)).sum(0))
    found = {"nll": np.nanmean(each, 0), "nll_se": se, "validation": mixture.log_px(validation).mean()}
    return pd.DataFrame(found, index=list(data.columns.names))


def imputed(
    vae: ppl_vae.VAE, data: ppl_vae.data.Data, truth: ppl_vae.data.Data, args: argparse.Namespace
) -> dict[str, pd.DataFrame]:
    """Errors of the hidden entries by column and method, of all rows and of test rows, and beside mode or mean."""
    units, most = partial(in_units, data.columns), args.imputed
    train, validation = units(with_gaps(data.train)), units(with_gaps(data.validation))
    gaps, known = (np.concatenate([units(with_gaps(of.splits[role])) for role in ROLES])[:most] for of in (data, truth))
    parts = [data.splits[role][i : i + 500] for role in ROLES for i in range(0, len(data.splits[role]), 500)]
    ours, done = [], 0
    for i, part in enumerate(parts):
        if done < len(gaps):
            ours.append(kept(f"imputed_{i}", args, partial(by_vae, vae, data.columns, part, args)))
            done += len(part)
    linear = partial(iterative, data.columns, train, gaps, args.seed)
    methods = {
        "VAE": np.concatenate(ours)[:most],
        BOOSTED: kept("boosted", args, partial(boosted, data.columns, train, validation, gaps, args.seed)),
        "IterativeImputer, one-hot": kept("one_hot", args, partial(linear, one_hot=True)),
        "IterativeImputer, ordinal": kept("ordinal", args, partial(linear, one_hot=False)),
        "mode or mean": usual(data.columns, train, gaps),
    }
    sd, num = np.nanstd(train, axis=0), len(data.test)
    return {
        "errors": errors_of(data.columns, gaps, known, methods, sd),
        "errors_of_test_rows": errors_of(
            data.columns, gaps[:num], known[:num], {name: x[:num] for name, x in methods.items()}, sd
        ),
        "against_mode_or_mean": against(data.columns, gaps, known, methods, "mode or mean"),
    }


def losses(columns: Any, gaps: np.ndarray, known: np.ndarray, x: np.ndarray) -> Iterator[np.ndarray]:
    """For each column whether its hidden entries are wrong, or their squared errors, (hidden,)."""
    for j, column in enumerate(columns):
        hidden = np.isnan(gaps[:, j]) & ~np.isnan(known[:, j])
        off = x[hidden, j] - known[hidden, j]
        yield (off != 0).astype(float) if column.name in UNORDERED else off**2


def errors_of(columns: Any, gaps: np.ndarray, known: np.ndarray, methods: Any, sd: np.ndarray) -> pd.DataFrame:
    """The error of each column and method."""
    rows: dict[str, dict[str, Any]] = {column.name: {} for column in columns}
    for name, x in methods.items():
        for j, loss in enumerate(losses(columns, gaps, known, x)):
            is_share = columns[j].name in UNORDERED
            row = rows[columns[j].name]
            row |= {"hidden": len(loss), "error": "share wrong" if is_share else "RMSE / sd"}
            row[name] = loss.mean() if is_share else np.sqrt(loss.mean()) / sd[j]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("column")


def against(columns: Any, gaps: np.ndarray, known: np.ndarray, methods: Any, base: str) -> pd.DataFrame:
    """The loss of each column and method less that of `base`, relative to it, and its standard error."""
    of_base = list(losses(columns, gaps, known, methods[base]))
    rows: dict[str, dict[str, float]] = {column.name: {} for column in columns}
    for name in [name for name in methods if name != base]:
        for column, loss, other in zip(columns, losses(columns, gaps, known, methods[name]), of_base, strict=True):
            relative = (loss - other) / other.mean()
            rows[column.name][name] = relative.mean()
            rows[column.name][f"{name}, se"] = relative.std(ddof=1) / np.sqrt(len(relative))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("column")


def by_vae(vae: ppl_vae.VAE, columns: Any, rows: ppl_vae.data.Split, args: argparse.Namespace) -> np.ndarray:
    """The most probable category, and means of numbers, (rows, columns)."""
    options = {"num_draws": 1, "num_samples": args.num_samples, "seed": args.seed, "progress": False}
    found = ppl_vae.impute(vae, rows, probabilities=True, **options)
    print(found, flush=True)
    made = in_units(columns, found.raw.mean.double().numpy())
    for j, column in enumerate(columns):
        if column.name in LEVELS:
            gap = ~found.observed[:, j].numpy()
            p = found.probabilities[:, j, : column.levels].double().numpy()[gap]
            made[gap, j] = p @ np.array(column.categories, dtype=float)
    return made


def boosted(columns: Any, train: np.ndarray, validation: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Each column predicted from the others, by trees that take gaps as they are, stopped by validation rows."""
    made, unordered = rows.copy(), np.array([column.name in UNORDERED for column in columns])
    settings = {"learning_rate": 0.05, "max_leaf_nodes": 8, "min_samples_leaf": 50, "early_stopping": True}
    for j, is_category in enumerate(unordered):
        others, gap = np.arange(len(columns)) != j, np.isnan(rows[:, j])
        kind = HistGradientBoostingClassifier if is_category else HistGradientBoostingRegressor
        model = kind(categorical_features=unordered[others], random_state=seed, **settings)
        seen, held = ~np.isnan(train[:, j]), ~np.isnan(validation[:, j])
        if is_category:  # of those that the model knows
            held = np.isin(validation[:, j], train[seen, j])
        held_out = {"X_val": validation[held][:, others], "y_val": validation[held, j]}
        model.fit(train[seen][:, others], train[seen, j], **held_out)
        made[gap, j] = model.predict(rows[gap][:, others])
    return made


def in_units(columns: Any, x: np.ndarray) -> np.ndarray:
    """Codes of levels (n, columns) as the values that they stand for; others, and codes of categories, as they are."""
    made = x.copy()
    for j, column in enumerate(columns):
        if column.categories and column.name not in UNORDERED:
            seen = ~np.isnan(x[:, j])
            made[seen, j] = np.array(column.categories, dtype=float)[x[seen, j].astype(int)]
    return made


def usual(columns: Any, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The most frequent category, and the mean of numbers."""
    values = [
        pd.Series(x).mode()[0] if column.name in UNORDERED else np.nanmean(x)
        for column, x in zip(columns, train.T, strict=True)
    ]
    return np.where(np.isnan(test), values, test)


def iterative(columns: Any, train: np.ndarray, test: np.ndarray, seed: int, *, one_hot: bool) -> np.ndarray:
    """IterativeImputer on numbers standardized, and categories one-hot, of which the largest wins, or as codes."""
    levels = [column.levels if one_hot and column.name in UNORDERED else 0 for column in columns]

    def wide(x: np.ndarray) -> np.ndarray:
        parts = [
            np.where(np.isnan(v)[:, None], np.nan, v[:, None] == np.arange(n)) if n else v[:, None]
            for v, n in zip(x.T, levels, strict=True)
        ]
        return np.concatenate(parts, 1)

    mean, sd = (
        np.concatenate([np.full(n, at) if n else [of(v)] for v, n in zip(train.T, levels, strict=True)])
        for at, of in ((0.0, np.nanmean), (1.0, np.nanstd))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of 10 rounds, as IterativeImputer has by default
        imputer = IterativeImputer(random_state=seed).fit((wide(train) - mean) / sd)
    filled = imputer.transform((wide(test) - mean) / sd) * sd + mean
    parts = np.split(filled, np.cumsum([n or 1 for n in levels])[:-1], axis=1)
    made = [part.argmax(1) if n else part[:, 0] for part, n in zip(parts, levels, strict=True)]
    for j, column in enumerate(columns):
        if column.name in UNORDERED:
            made[j] = made[j].round().clip(0, column.levels - 1)
    return np.where(np.isnan(test), np.stack(made, 1), test)


def drawn(nll: pd.DataFrame, errors: pd.DataFrame) -> Figure:
    """Each column: how much better than the marginals, and the errors over those of mode or mean."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    y = np.arange(len(nll))
    for i, name in enumerate(("VAE", "mixture")):
        left.barh(y + 0.2 - 0.4 * i, nll["marginals"] - nll[name], height=0.38, color=f"C{i}", label=name)
    left.set_xlabel("NLL below that of the marginals (nats)")
    better = errors.filter(like="IterativeImputer").mean().idxmin()
    for i, (name, colour) in enumerate({"VAE": "C0", BOOSTED: "C7", better: "C2"}.items()):
        ratio = errors[name] / errors["mode or mean"]
        right.barh(y + 0.27 - 0.27 * i, ratio, height=0.25, color=colour, label=name)
    right.axvline(1, color="black", linewidth=0.8)
    right.set_xlabel("error of hidden entries over that of mode or mean")
    left.set_yticks(y, nll.index)
    left.invert_yaxis()
    for ax in (left, right):
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1, frameon=False)
    return figure


if __name__ == "__main__":
    main()
