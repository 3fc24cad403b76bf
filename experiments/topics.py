"""What is the perplexity of a VAE of documents, a multinomial with a logistic-normal prior, and what are its topics?

20 Newsgroups in the vocabulary of NVDM and ProdLDA, 1,995 words; the one document without words is left out of either
part, so that 11,258 are for training and 7,487, which are younger, for the test. A tenth of the training documents, at
random, chooses the settings and the epoch.

The model is p(x, z) = Normal(z; 0, I) Multinomial(x | n, softmax(b + W h)), a product of experts as in ProdLDA:
h = z (`--decoder linear`, as NVDM), or h = softmax(A z) are shares of topics (`--decoder shares`). With `--decoder
mixture` the words have the probabilities sum_k h_k softmax(b + W_k), as in GSM. In training the encoder is given each
document with a part of its words masked (a denoising VAE), which keeps it from learning the documents by heart; in the
test it is given all of them. What is maximized is the mean of the ELBO per word of each document, whose exponential the
perplexity is (`--weight words`), by a scale 1 / N_d on the sites of model and guide; with `--weight documents` it is
the mean of the ELBO, in which few long documents prevail. The KL of a document is in closed form (`--kl closed`). With
its Monte Carlo estimate log q(z | x) - log p(z) at the draw of z (`--kl drawn`), whose gradient is noisier, the units
are used less in as many epochs.

Perplexity is exp(-1/D sum_d L_d / N_d) with the N_d words of document d, and L_d the ELBO, or the estimate of log p(x).
Papers score the words in their order, log p(w_1, ..., w_N | z) = sum_v x_v log p_v, while a multinomial is the mass of
the counts: it has log N! - sum_v log x_v! more, for the orders that have the same counts. That is subtracted here; it
depends on neither z nor the model. Topics are the rows of W: top words, and their coherence NPMI over the training
documents, mean over pairs of the 10 top words of log(p(a, b) / (p(a) p(b))) / -log p(a, b) with shares of documents
(-1 where two words never meet). The files number the words and do not name them: `--words FILE`, a word a line, does.

Published, test perplexity by the ELBO at 50 units (Ning et al. 2018, arXiv:1806.06583 (iTM-VAE), table 1): LDA 893,
NVDM 837, ProdLDA 1,009, GSM 787, iTM-VAE-Prod 769. Here, by experiments/results/topics.json, 767 after 100
epochs; the validation documents, drawn from those of the training period, have 743.

    python experiments/topics.py --data-dir DIR --figure topics.png --out topics.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import results_file
import torch
from matplotlib.figure import Figure
from pyro import poutine
from torch import Tensor, nn
from torch.optim import AdamW

import ppl_vae
from ppl_vae import MLP, Masking, Multinomial, StandardNormal
from ppl_vae.data.store import find_root
from ppl_vae.objectives import Trace_ELBO, TraceMeanField_ELBO
from ppl_vae.rows import dense

PUBLISHED = {"LDA": 893, "NVDM": 837, "ProdLDA": 1009, "GSM": 787, "iTM-VAE-Prod": 769}
TOP = 10
OBJECTIVES = {"closed": TraceMeanField_ELBO, "drawn": Trace_ELBO}


class Topics(nn.Module):
    """Logits of the words from z: b + W z, b + W softmax(A z), or the log of a mixture of softmax(b + W_k).

    Parameters
    ----------
    in_shape, out_shape
        (latent_dim,) and the shape of the parameters of a document, (1, words).
    context
        None.
    kind
        ``"linear"``, ``"shares"`` or ``"mixture"``.
    num_topics
        Rows of W; for ``"linear"`` one for each latent unit.
    """

    def __init__(
        self, in_shape: tuple, out_shape: tuple, context: tuple = (), kind: str = "linear", num_topics: int = 50
    ) -> None:
        super().__init__()
        self.kind, self.out_shape = kind, tuple(out_shape)
        num = in_shape[0] if kind == "linear" else num_topics
        self.shares = nn.Identity() if kind == "linear" else nn.Sequential(nn.Linear(in_shape[0], num), nn.Softmax(-1))
        self.words = nn.Linear(num, out_shape[-1])

    def forward(self, z: Tensor) -> Tensor:
        """(*leading, latent_dim) to (*leading, 1, words)."""
        h = self.shares(z)
        if self.kind == "mixture":
            each = (self.words.weight.T + self.words.bias).softmax(-1)
            logits = (h @ each).clamp_min(1e-30).log()
        else:
            logits = self.words(h)
        return logits.unflatten(-1, self.out_shape)


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA), with counts/20news_train.feat")
    parser.add_argument("--take", type=int, help="use only so many documents of each part")
    parser.add_argument("--latent-dim", type=int, default=50)
    parser.add_argument("--decoder", default="linear", choices=("linear", "shares", "mixture"))
    parser.add_argument("--topics", type=int, default=50, help="for shares and mixture")
    parser.add_argument("--hidden-dims", type=int, nargs="+", default=[256])
    parser.add_argument("--masked", type=float, default=0.5, help="share of words the encoder is not given in training")
    parser.add_argument("--weight", default="words", choices=("words", "documents"), help="what is maximized")
    parser.add_argument("--kl", default="closed", choices=tuple(OBJECTIVES), help="how it is computed in training")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="largest, of a one-cycle schedule")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--num-samples", type=int, default=100, help="draws from q a document")
    parser.add_argument("--words", type=Path, help="the vocabulary, a word a line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    results_file.add_outputs(parser, figure="topics")
    args = parser.parse_args(argv)

    start = time.perf_counter()
    data = documents(find_root(args.data_dir) / "counts", args.take, args.seed)
    vae = trained(data, args)
    trained_in = time.perf_counter() - start
    scores = {role: scored(vae, data.splits[role], args) for role in ("validation", "test")}
    topics = top_words(vae, data.train, args.words)
    found = {
        "command": results_file.command(__file__, argv),
        "perplexity": "exp(-1/D sum_d L_d / N_d), L_d without log N! - sum_v log x_v!",
        "scores": scores,
        "published": {"source": "arXiv:1806.06583, table 1, by the ELBO", **PUBLISHED},
        "topics": topics,
        "npmi": {"mean": float(np.mean([t["npmi"] for t in topics])), "documents": "training"},
        "formula": vae.formula(),
        "settings": {k: v for k, v in vars(args).items() if k not in ("data_dir", "words", "figure", "out")},
        "data": {k: data.provenance[k] for k in ("name", "md5", "sizes") if k in data.provenance},
        "versions": results_file.versions(),
        "threads": torch.get_num_threads(),
        "seconds": {"training": round(trained_in), "all": round(time.perf_counter() - start)},
    }
    report(found)
    if args.figure:
        results_file.draw(drawn(topics, scores), args.figure, dpi=110)
    results_file.write(found, args.out)
    return found


def documents(folder: Path, most: int | None, seed: int) -> ppl_vae.data.Data:
    """The documents that have words; a tenth of those for training are validation data."""
    data = ppl_vae.data.load(folder / "20news_train.feat", test=folder / "20news_test.feat", seed=seed)
    splits: dict[str, Any] = {}
    for role, split in data.splits.items():
        there = dense(split.x).sum(1) > 0
        splits[role] = split[there.nonzero().flatten()[:most]]
        print(f"{role}: {len(splits[role])} documents, {int((~there).sum())} without words left out", flush=True)
    return replace(data, **splits)


def trained(data: ppl_vae.data.Data, args: argparse.Namespace) -> ppl_vae.VAE:
    """The VAE after the last epoch: the learning rate falls to 0 over a number of them that validation data chose."""
    vae = ppl_vae.build(
        data,
        latent_dim=args.latent_dim,
        prior=StandardNormal,
        likelihood=Multinomial,
        encoder=partial(MLP, hidden_dims=tuple(args.hidden_dims), activation="softplus"),
        decoder=partial(Topics, kind=args.decoder, num_topics=args.topics),
        corruption=partial(Masking, rate=args.masked) if args.masked else None,
        seed=args.seed,
    )
    fitted = ppl_vae.fit(
        vae if args.weight == "documents" else per_word(vae, data.train),
        data.train,
        epochs=args.epochs,
        batch_size=args.batch_size,
        objective=OBJECTIVES[args.kl],
        optimizer=partial(AdamW, lr=args.learning_rate, weight_decay=args.weight_decay),
        schedule=ppl_vae.OneCycle(peak=args.learning_rate),
        seed=args.seed,
        device=args.device,
    )
    print(fitted, flush=True)
    return vae


def per_word(vae: ppl_vae.VAE, train: ppl_vae.data.Split) -> ppl_vae.Program:
    """Model and guide whose terms of a document are divided by its number of words, relative to the median."""
    median = dense(train.x).sum(1).median().item()

    def scaled(f: Callable[..., Any], x: Tensor, **given: Any) -> None:
        with poutine.scale(scale=median / x.sum(1)):
            f(x, **given)

    return ppl_vae.Program(partial(scaled, vae.model), partial(scaled, vae.guide), vae)


def log_orders(x: Tensor) -> Tensor:
    """log(N! / prod_v x_v!) of rows of counts (n, words): in how many orders the words of a document may stand."""
    x = x.double()
    return torch.lgamma(x.sum(1) + 1) - torch.lgamma(x + 1).sum(1)


def perplexity(log_px: Tensor, x: Tensor) -> tuple[float, float]:
    """exp(-1/D sum_d (log_px_d - log orders) / N_d), of log masses of counts (D,), and its standard error."""
    each = -(log_px - log_orders(x)) / x.double().sum(1)
    value = each.mean().exp()
    return value.item(), (value * each.std() / len(each) ** 0.5).item()


def scored(vae: ppl_vae.VAE, split: ppl_vae.data.Split, args: argparse.Namespace) -> dict[str, Any]:
    """Perplexities by the ELBO and by log p(x), with their errors; and what can be believed of the second."""
    result = ppl_vae.evaluate(vae, split, num_samples=args.num_samples, seed=args.seed)
    print(result, flush=True)
    x = dense(split.x)
    columns = {
        name: torch.from_numpy(result.per_datum[name].to_numpy(copy=True)) for name in ("elbo", "log_px", "log_px_mcse")
    }
    by_elbo, by_log_px = (perplexity(columns[name], x) for name in ("elbo", "log_px"))
    noise = (columns["log_px_mcse"] / x.double().sum(1)).square().sum().sqrt() / len(x) * by_log_px[0]
    return {
        "documents": len(x),
        "perplexity_elbo": by_elbo[0],
        "perplexity_elbo_se": by_elbo[1],
        "perplexity_log_px": by_log_px[0],
        "perplexity_log_px_se": by_log_px[1],
        "perplexity_log_px_mcse": noise.item(),
        "k_hat_good": 1 - result.unreliable,
        "num_samples": args.num_samples,
        "active_units": sum(result.active_units.values()),
        "kl": float(result.summary.loc["kl_z", "mean"]),
    }


def top_words(vae: ppl_vae.VAE, train: ppl_vae.data.Split, names: Path | None) -> list[dict[str, Any]]:
    """The words with the largest weights of each row of W, and their coherence; the most coherent topic first."""
    weight = vae.likelihood.net.words.weight.detach().T
    vocabulary = names.read_text().split() if names else [f"word {i + 1}" for i in range(weight.shape[1])]
    if len(vocabulary) != weight.shape[1]:
        raise ValueError(
            f"--words expects {weight.shape[1]} words, got {len(vocabulary)} in {names}; give the vocabulary"
        )
    if not names:
        print("the words are not known, only their numbers from 1 on: --words FILE names them")
    present = (dense(train.x) > 0).double()
    topics = []
    for row in weight:
        top = row.topk(TOP).indices
        topics.append({"words": [vocabulary[i] for i in top.tolist()], "npmi": npmi(present[:, top])})
    return sorted(topics, key=lambda topic: -topic["npmi"])


def npmi(present: Tensor) -> float:
    """Mean normalized pointwise mutual information of pairs of words, from their presence in documents (D, words)."""
    n = len(present)
    both, single = present.T @ present / n, present.mean(0)
    i, j = torch.triu_indices(len(both), len(both), 1)
    p = both[i, j]
    value = (p / (single[i] * single[j])).log() / -p.log()
    return torch.where(p > 0, torch.where(p < 1, value, 1.0), -1.0).mean().item()


def report(found: dict[str, Any]) -> None:
    """The table of perplexities, and the topics."""
    print("\ntest perplexity by the ELBO, published:", ", ".join(f"{k} {v}" for k, v in PUBLISHED.items()))
    for role, s in found["scores"].items():
        print(
            f"{role}: {s['perplexity_elbo']:.1f} ± {s['perplexity_elbo_se']:.1f} by the ELBO, "
            f"{s['perplexity_log_px']:.1f} ± {s['perplexity_log_px_se']:.1f} by log p(x) (Monte Carlo error "
            f"{s['perplexity_log_px_mcse']:.2f}; k-hat good for {s['k_hat_good']:.1%} of {s['documents']} documents)"
        )
    print(f"NPMI of the top {TOP} words, mean over topics: {found['npmi']['mean']:.3f}")
    for topic in found["topics"][:10]:
        print(f"  {topic['npmi']:.3f}  {' '.join(topic['words'])}")


def drawn(topics: list[dict[str, Any]], scores: dict[str, Any]) -> Figure:
    """Test perplexity beside published ones, and the coherence of the topics."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    test = scores["test"]
    names = [*PUBLISHED, "here, ELBO", "here, log p(x)"]
    values = [*PUBLISHED.values(), test["perplexity_elbo"], test["perplexity_log_px"]]
    left.barh(names, values, color=["C7"] * len(PUBLISHED) + ["C0", "C1"])
    left.invert_yaxis()
    left.bar_label(left.containers[0], fmt="%.0f", padding=2)
    left.margins(x=0.15)
    left.set_xlabel("test perplexity, 20 Newsgroups, 50 units (lower is better)")
    right.hist([t["npmi"] for t in topics], bins=20, color="C0")
    right.set_xlabel(f"NPMI of the top {TOP} words of a topic")
    right.set_ylabel("topics")
    return figure


if __name__ == "__main__":
    main()
