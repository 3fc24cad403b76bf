"""What a page says of a run in words and tables, as HTML that is read without a script."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ppl_vae.diagnostics import Diagnosis
from ppl_vae.diagnostics.report import cannot_see, overall
from ppl_vae.evaluation import Evaluation
from ppl_vae.pages.mathml import mathml
from ppl_vae.pages.subject import Subject

__all__ = ["diagnostics_table", "formula", "numbers", "provenance", "said", "table", "verdict"]

_MEANINGS = {
    "nll": "negative log-likelihood, -log p(x)",
    "elbo": "evidence lower bound",
    "reconstruction": "E[log p(x | z)] under q",
    "kl_gap": "KL from q(z | x) to p(z | x)",
    "bits_per_dim": "negative log-likelihood per element of x",
}


_BOUNDS = {"nll": ", an upper bound", "bits_per_dim": ", an upper bound", "kl_gap": ", a lower bound"}
"""What is added where log p(x) is not believed for all data."""


_OTHER_KL = (
    "Verdict and diagnostics give the median of the KL from q(z | x) to p(z | x) over the data where it can be told, "
    "and the mean KL to the prior of other draws of z: both differ from the means in this table."
)


def said(text: str) -> str:
    """A sentence as HTML: what is between backticks as code, between double stars strong."""
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", shown)


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already, the first of each row its heading."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    )
    inside = f"<caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>{inside}</table></div>'
    )


def formula(subject: Subject) -> str:
    """The factorization of the model, and q."""
    label = f'tabindex="0" role="region" aria-label="Formula of {escape(subject.name)}"'
    return f'<div class="formula" {label}>{mathml(subject.result.formula)}</div>'


def verdict(subject: Subject) -> str:
    """First whether q and the numbers can be relied on, then the numbers of that sentence."""
    result, found = subject.result, subject.found
    untrained = "" if len(subject.run.history) else "<p><strong>This model was not trained for an epoch.</strong></p>"
    if found is None:
        return f"{untrained}<p>{said(_no_spread(result))}</p>"
    first = overall(found.diagnostics, found.check, found.results, found.left_out)
    details = str(found.check.verdict()).partition("\n\n")[2]  # below the formula, a question begins a line
    asked = [" ".join(lines.split()) for lines in re.split(r"\n(?! )", details)]
    answered = (f"<p><strong>{escape(q)}?</strong>{escape(a)}</p>" for q, _, a in (one.partition("?") for one in asked))
    return f"{untrained}<p>{said(first)}</p>{''.join(answered)}"


def _no_spread(result: Evaluation) -> str:
    if "log_px" not in result.per_datum:
        return (
            "**Verdict.** An autoencoder: q is a point for each datum, or the prior is improper, so that there is no "
            "ELBO, no log p(x) and no posterior to compare q with. Its reconstructions can be judged."
        )
    if result.one_code:
        return (
            "**Verdict.** q is one code for each datum, without a spread that could be judged. The negative "
            "log-likelihood is minus the ELBO, an upper bound."
        )
    return "**Verdict.** One datum does not show how q does; give two or more."


def numbers(subject: Subject) -> str:
    """Means over the data with their standard errors, and for which share of the data log p(x) is believed."""
    result = subject.result
    bounds = _BOUNDS if result.unreliable > 0 else {}
    rows = [
        (
            f"<code>{escape(str(name))}</code>",
            _mean(mean, se),
            _unit(str(name)),
            escape(_meaning(str(name)) + bounds.get(str(name), "")),
        )
        for name, (mean, se) in result.summary.iterrows()
        if not math.isnan(mean)
    ]
    caption = f"{subject.name}: means over {len(result.per_datum)} data and their standard errors over the data"
    said = f"<p>{escape(_believed(result))}</p>"
    if subject.found is not None:
        said += f"<p>{_OTHER_KL}</p>"
    return table(caption, ["", "mean ± error", "unit", "what it is"], rows) + said


def _believed(result: Evaluation) -> str:
    if "log_px" not in result.per_datum:
        return "There is no log p(x) to believe."
    if result.one_code:
        return "The negative log-likelihood is an upper bound for all data."
    if math.isnan(result.unreliable):
        return "Whether log p(x) can be believed is not known."
    share = 1 - result.unreliable
    rest = "" if share == 1 else " For the others the negative log-likelihood is an upper bound in expectation."
    why = ""
    if result.adaptation is None and not math.isnan(result.good_k):
        tail = "the shape of the tail of the importance weights p(x, z) / q(z | x)"
        why = f": there k-hat, {tail}, is at most {result.good_k:.2f}"
    return f"log p(x) is believed for {share:.1%} of the data{why}.{rest}"


def _mean(mean: float, se: float) -> str:
    return f"{mean:.3f}" + (f" ± {se:.3f}" if math.isfinite(se) else "")


def _unit(name: str) -> str:
    return "bits per dimension" if name == "bits_per_dim" else "nats per datum"


def _meaning(name: str) -> str:
    if name.startswith("kl_") and name != "kl_gap":
        return f"KL from q to the prior, of {name.removeprefix('kl_')}"
    return _MEANINGS.get(name, "")


def diagnostics_table(subject: Subject) -> str:
    """Each diagnostic: what it asks, what it found, and what it cannot see."""
    if subject.found is None:
        return "<p>No diagnostic of q was run, as q has no spread to judge.</p>"
    found = subject.found
    rows = [(escape(question), answer, escape(_sentence(unseen))) for question, answer, unseen in _asked(found)]
    waiting = [one for one in found.diagnostics if one.full and one.question and one.fits(found.subject)]
    ran = {*found.results, *found.left_out}
    questions = " ".join(escape(one.question) for one in waiting if one.name not in ran)
    left = f"<p>Not run, <code>ppl-vae report RUN --full</code> asks: {questions}</p>" if questions else ""
    return table(f"Diagnostics of q of {subject.name}", ["question", "answer", "what it cannot see"], rows) + left


def _asked(found: Diagnosis) -> Iterable[tuple[str, str, str]]:
    check = found.check
    yield (
        "How far is q, and can log p(x) be believed?",
        f"<p>{escape(check.how_far())}.</p>",
        check.dataset.attrs["cannot_see"],
    )
    for one in found.diagnostics:
        if not one.question:
            continue
        if one.name in found.results:
            lines = one.told(found.subject, found.results)
            yield one.question, "".join(f"<p>{said(line)}</p>" for line in lines), cannot_see(found.results[one.name])
        elif one.name in found.left_out:
            yield one.question, f"<p>Left out: {said(found.left_out[one.name])}.</p>", ""


def _sentence(text: str) -> str:
    """A text with a capital and an end."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def provenance(subject: Subject, versions: Mapping[str, str]) -> str:
    """Where the numbers of a run come from."""
    result = subject.result
    source: dict[str, Any] = result.data["provenance"]
    name = " ".join(filter(None, [str(source.get("name", "data of your own")), str(source.get("split", ""))]))
    rows = [
        ("data", f"{escape(name)}, {len(result.per_datum)} data; identity <code>{result.data['identity'][:16]}</code>"),
        ("base measure", escape(result.base_measure)),
        ("draws of q a datum", str(result.num_samples)),
        ("seed", str(result.seed)),
        ("epochs", str(len(subject.run.history))),
        ("parameters", f"{sum(p.numel() for p in subject.vae.parameters()):,}"),
        ("versions", escape(", ".join(f"{library} {version}" for library, version in versions.items()))),
    ]
    return table(f"How the numbers of {subject.name} were made", ["", ""], rows)
