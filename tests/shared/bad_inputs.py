"""What must be refused in a sentence: for every public name, calls with something wrong in them.

From each call of `good_calls` follow, unasked: an unknown keyword, nothing at all, and for each argument values of
another kind than its default. The rest is listed by hand.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse
import torch
import xarray as xr
from bad_data import damaged_files, likelihoods_of_other_data
from good_calls import (
    FRAME,
    GOOD,
    OF_Z,
    PICTURES,
    ROWS,
    SHAPES,
    THREE_COLUMNS,
    VERBS,
    Made,
    OwnAmortized,
    OwnLikelihood,
    OwnPosterior,
    OwnPrior,
    OwnRows,
    Z,
    arrays,
    at,
    called,
    check,
    conditional,
    evaluated,
    folder,
    grey,
    imputed,
    public,
    refined,
    split,
    vae,
    x,
)
from small_models import SMALL
from torch import nn

import ppl_vae
from ppl_vae import data, diagnostics, evaluation, manifold, objectives, sklearn, training
from ppl_vae.diagnostics.results.arviz_io import to_tree

__all__ = ["BAD", "Bad"]


class Bad(NamedTuple):
    """A call that must raise a sentence; or return, where `result` says what."""

    name: str
    what: str
    call: Callable[[], Any]

    @property
    def result(self) -> str:
        """What is documented to come instead."""
        return DOCUMENTED.get((self.name, self.what), "")


DOCUMENTED = {
    ("ppl_vae.Batch", "x that is none"): "refused where it is used",
    ("ppl_vae.VAE", "decode: a list"): "a tensor of it",
    ("ppl_vae.VAE", "decode: an array"): "a tensor of it",
    ("ppl_vae.VAE", "decode: empty"): "no distributions",
    ("ppl_vae.VAE", "decode: whole numbers"): "the same numbers in the precision of the parameters",
    ("ppl_vae.data.Split", "mask of floats"): "refused where it is used",
    ("ppl_vae.data.Split", "mask of another shape"): "refused where it is used",
    ("ppl_vae.plots.bounds", "lower: NaN alone"): "left out, and counted",
    ("ppl_vae.plots.bounds", "upper: NaN alone"): "left out, and counted",
    ("ppl_vae.plots.coverage", "observed: NaN alone"): "left out",
    ("ppl_vae.plots.gap_decomposition", "amortization: NaN alone"): "left out, and counted",
    ("ppl_vae.plots.gap_decomposition", "approximation: NaN alone"): "left out, and counted",
    ("ppl_vae.plots.pareto_k", "k: NaN alone"): "above the threshold, and counted",
}


# What follows from the good calls

NUMBERS = {"'a'": "a", "True": True, "1j": 1j, "[1]": [1]}
WRONG: dict[type, dict[str, Any]] = {
    bool: {"'yes'": "yes", "3": 3},
    int: {"-1": -1, "1.5": 1.5, "'3'": "3", "True": True, "nan": math.nan, "2**70": 2**70},
    float: {"nan": math.nan, "'a'": "a", "True": True, "1j": 1j},
    str: {"3": 3, "['a']": ["a"]},
}
UNKNOWN = ("method", "init", "mode", "kind", "activation", "level", "device")
"""Texts that are choices."""


def changed_defaults() -> Iterator[Bad]:
    """For each argument with a default, values of another kind."""
    for name in GOOD:
        for parameter in inspect.signature(public()[name]).parameters.values():
            default = GOOD[name].get(parameter.name, parameter.default)
            kind = type(default) if type(default) in WRONG else int if parameter.name in COUNTS else None
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or kind is None:
                continue
            values = WRONG[kind] | ({"'nonsense'": "nonsense"} if parameter.name in UNKNOWN else {})
            for said, value in values.items():
                if (name, parameter.name, said) not in FINE:
                    yield Bad(name, f"{parameter.name}={said}", partial(called, name, **{parameter.name: value}))


COUNTS = ("seed", "patience", "num_points", "num_projections", "steps", "columns", "num_predictive", "levels")
"""Arguments that are whole numbers or None."""

FINE = {
    *((f"ppl_vae.{name}", "scale", "3") for name in ("Gaussian", "likelihoods.Laplace", "StudentT", "LogNormal")),
    ("ppl_vae.StudentT", "df", "3"),
    ("ppl_vae.posteriors.StudentT", "df", "3"),
    ("ppl_vae.CorrelatedGaussian", "covariance", "3"),
    *((f"ppl_vae.objectives.{name}", "epochs", said) for name in ("Linear", "Cyclical") for said in ("1.5", "2**70")),
}
"""Values that are right after all."""


def calls_that_do_not_fit() -> Iterator[Bad]:
    """An unknown keyword, and nothing at all."""
    for name, f in public().items():
        if name in GOOD:
            kinds = [p.kind for p in inspect.signature(f).parameters.values()]
            if inspect.Parameter.VAR_KEYWORD not in kinds:
                yield Bad(name, "an unknown keyword", partial(called, name, nonsense=1))
            parameters = inspect.signature(f).parameters.values()
            needed = any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
            if needed and name != "ppl_vae.Batch":  # a tuple, whose refusal is Python's
                yield Bad(name, "nothing", f)


# Programs, data, masks and contexts

PROGRAMS = {
    "None": None,
    "an object": object(),
    "a class": ppl_vae.VAE,
    "a network": nn.Linear(2, 2),
    "text": "vae",
    "a function": len,
}

DATA: dict[str, Any] = {
    "None": None,
    "text": "digits",
    "a list of text": ["a", "b"],
    "a ragged list": [[1.0], [1.0, 2.0]],
    "a number": 3,
    "an object": object(),
    "0 dimensions": torch.tensor(1.0),
    "no data": torch.zeros(0, 1, 4, 4),
    "complex": torch.zeros(4, 1, 4, 4, dtype=torch.complex64),
    "NaN": torch.full((4, 1, 4, 4), math.nan),
    "infinity": torch.full((4, 1, 4, 4), math.inf),
    "another width": torch.zeros(4, 1, 4, 5),
    "two dimensions": torch.zeros(4, 16),
    "five dimensions": torch.zeros(2, 4, 1, 4, 4),
    "outside the support": torch.full((4, 1, 4, 4), 2.0),
    "negative": torch.full((4, 1, 4, 4), -1.0),
    "objects": np.array([None, 1.0], dtype=object),
    "a dict": {"x": torch.zeros(4, 1, 4, 4)},
    "a Data": Made(arrays),
}

MASKS: dict[str, Any] = {
    "text": "all",
    "an array of text": np.array(["a"] * 4),
    "floats": torch.ones(4, 1, 4, 4),
    "another shape": torch.ones(4, 1, 4, 5, dtype=torch.bool),
    "another length": torch.ones(3, 1, 4, 4, dtype=torch.bool),
    "a number": 3,
}


def programs_and_data() -> Iterator[Bad]:
    """The same bad values for every verb."""
    for name in VERBS:
        for said, value in PROGRAMS.items():
            yield Bad(name, f"program: {said}", partial(called, name, program=value))
        for said, value in DATA.items():
            yield Bad(name, f"x: {said}", partial(called, name, x=value))
        for said, value in MASKS.items():
            yield Bad(name, f"mask: {said}", partial(called, name, mask=value))
        yield Bad(name, "a context too many", partial(_in_context, name, vae, lambda: [torch.zeros(4, 3)]))
        for said, context in CONTEXTS.items():
            yield Bad(name, f"context: {said}", partial(_in_context, name, lambda: conditional()[0], context))


CONTEXTS: dict[str, Callable[[], list[Any]]] = {
    "missing": lambda: [],
    "too short": lambda: [torch.zeros(3, 3)],
    "too wide": lambda: [torch.zeros(4, 4)],
    "NaN": lambda: [torch.full((4, 3), math.nan)],
    "text": lambda: ["a"],
    "None": lambda: [None],
    "two": lambda: [torch.zeros(4, 3), torch.zeros(4, 3)],
}


def _in_context(name: str, program: Callable[[], Any], context: Callable[[], list[Any]]) -> Any:
    given = {k: v for k, v in GOOD[name].items() if k not in ("program", "x")}
    return public()[name](program(), x(), *context(), **given)


# Arrays

ARRAYS: dict[str, Any] = {
    "None": None,
    "text": "abc",
    "a list of text": ["a", "b"],
    "a ragged list": [[1.0], [1.0, 2.0]],
    "0 dimensions": np.array(1.0),
    "empty": np.zeros((0, 2)),
    "complex": np.ones((20, 2), dtype=complex),
    "objects": np.array([[None, object()]], dtype=object),
    "seven dimensions": np.zeros((2, 1, 1, 1, 1, 1, 1)),
    "an object": object(),
}

TENSORS: dict[str, Any] = {
    "None": None,
    "text": "abc",
    "a list": [1.0, 2.0],
    "an array": np.zeros((2, 2)),
    "0 dimensions": torch.tensor(1.0),
    "empty": torch.zeros(0, 2),
    "another width": torch.zeros(6, 3),
    "complex": torch.zeros(6, 2, dtype=torch.complex64),
    "whole numbers": torch.zeros(6, 2, dtype=torch.int64),
    "NaN": torch.full((6, 2), math.nan),
}

OF_TENSORS = {
    "ppl_vae.manifold.decoded": "z",
    "ppl_vae.manifold.magnification": "z",
    "ppl_vae.manifold.metric": "z",
    "ppl_vae.manifold.step_lengths": "z",
    "ppl_vae.manifold.smoothness": "z",
    "ppl_vae.manifold.geodesic": "a",
    "ppl_vae.manifold.interpolate": "a",
    "ppl_vae.manifold.traverse": "z",
    "ppl_vae.diagnostics.psis": "log_w",
}


def bad_arrays() -> Iterator[Bad]:
    """The same bad arrays for each that a function takes."""
    for name, given in GOOD.items():
        for argument, value in given.items():
            if isinstance(value, np.ndarray) or (isinstance(value, list) and not isinstance(value[0], str)):
                for said, bad in ARRAYS.items():
                    yield Bad(name, f"{argument}: {said}", partial(called, name, **{argument: bad}))
                nothing = np.full(np.shape(value), math.nan)
                yield Bad(name, f"{argument}: NaN alone", partial(called, name, **{argument: nothing}))
    for name, argument in OF_TENSORS.items():
        for said, bad in TENSORS.items():
            yield Bad(name, f"{argument}: {said}", partial(called, name, **{argument: bad}))


# By hand


def by_hand() -> Iterator[Bad]:
    """What no rule gives."""
    for name, what, changed in CHANGED:
        yield Bad(name, what, partial(called, name, **changed))
    for name, what, call in CALLS:
        yield Bad(name, what, call)


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _text(*args: Any) -> str:
    return "a"


def _tree_of_none(name: str, argument: str) -> list[tuple[str, str, dict[str, Any]]]:
    trees: dict[str, Any] = {
        "None": None,
        "text": "tree.nc",
        "a dict": {},
        "an Evaluation": Made(evaluated),
        "a Dataset": xr.Dataset({"z": ("draw", [1.0, 2.0])}),
        "without groups": Made(lambda: to_tree({})),
    }
    return [(name, f"{argument}: {said}", {argument: tree}) for said, tree in trees.items()]


CHANGED: list[tuple[str, str, dict[str, Any]]] = [
    *(("ppl_vae.fit", f"compile={value!r}", {"compile": value}) for value in ("always", 1, 0.5)),
    *((name, f"threads={n!r}", {"threads": n}) for name in ("ppl_vae.fit", "ppl_vae.evaluate") for n in (0, 1.5)),
    *(("ppl_vae.fit", f"precision={value!r}", {"precision": value}) for value in ("fp8", 16)),
    *_tree_of_none("ppl_vae.diagnostics.compare_posteriors", "guide_tree"),
    *_tree_of_none("ppl_vae.diagnostics.compare_posteriors", "reference_tree"),
    *_tree_of_none("ppl_vae.diagnostics.posterior_pit", "guide_tree"),
    *_tree_of_none("ppl_vae.diagnostics.posterior_pit", "reference_tree"),
    *_tree_of_none("ppl_vae.diagnostics.coverage", "tree"),
    *_tree_of_none("ppl_vae.diagnostics.with_results", "tree"),
    *_tree_of_none("ppl_vae.diagnostics.group", "tree"),
    *_tree_of_none("ppl_vae.diagnostics.groups", "tree")[:-1],
    ("ppl_vae.diagnostics.group", "an unknown group", {"name": "postrior"}),
    ("ppl_vae.diagnostics.coverage", "prob=2", {"prob": 2.0}),
    ("ppl_vae.diagnostics.coverage", "prob=text", {"prob": "90 %"}),
    ("ppl_vae.diagnostics.coverage", "prob=nan", {"prob": math.nan}),
    ("ppl_vae.diagnostics.coverage", "no prob", {"prob": ()}),
    ("ppl_vae.diagnostics.with_results", "results=None", {"results": None}),
    ("ppl_vae.diagnostics.with_results", "a number among them", {"results": {"a": 3}}),
    ("ppl_vae.diagnostics.with_results", "names of none", {"results": {1: xr.Dataset()}}),
    ("ppl_vae.diagnostics.open_tree", "no file", {"path": "no/such/file.nc"}),
    ("ppl_vae.diagnostics.open_tree", "None", {"path": None}),
    ("ppl_vae.diagnostics.open_tree", "a folder", {"path": Made(folder)}),
    ("ppl_vae.diagnostics.open_tree", "not a tree", {}),
    ("ppl_vae.diagnostics.good_k", "too few", {"num_draws": 3}),
    ("ppl_vae.diagnostics.psis", "too few", {"log_w": torch.zeros(3, 1)}),
    ("ppl_vae.diagnostics.psis", "one dimension", {"log_w": torch.zeros(50)}),
    ("ppl_vae.diagnostics.psis", "weights of NaN", {"log_w": torch.full((50, 1), math.nan)}),
    ("ppl_vae.diagnostics.psis", "weights of infinity", {"log_w": torch.full((50, 1), math.inf)}),
    ("ppl_vae.diagnostics.simultaneous_band", "prob=1", {"prob": 1.0}),
    ("ppl_vae.impute", "too large a result", {"max_bytes": 10}),
    ("ppl_vae.impute", "max_rows=0", {"max_rows": 0}),
    ("ppl_vae.impute", "probabilities without categories", {"probabilities": True}),
    ("ppl_vae.evaluate", "another method", {"method": "best"}),
    ("ppl_vae.evaluate", "adaptive from 24 draws", {"method": "adaptive", "num_samples": 24}),
    ("ppl_vae.evaluate", "no rounds", {"method": "adaptive", "num_rounds": 0}),
    ("ppl_vae.evaluate", "no temperatures", {"method": "adaptive", "num_temperatures": 0}),
    ("ppl_vae.refine", "no rounds", {"num_rounds": 0}),
    ("ppl_vae.refine", "24 draws", {"num_samples": 24}),
    ("ppl_vae.evaluation.imputation_scores", "truth=None", {"truth": None}),
    ("ppl_vae.evaluation.imputation_scores", "truth of text", {"truth": ["a"]}),
    ("ppl_vae.evaluation.imputation_scores", "truth of another shape", {"truth": torch.zeros(6, 16)}),
    ("ppl_vae.evaluation.imputation_scores", "no known truth", {"truth": torch.full((6, 1, 4, 4), math.nan)}),
    ("ppl_vae.evaluation.imputation_scores", "imputed=None", {"imputed": None}),
    ("ppl_vae.evaluation.imputation_scores", "imputed: a tensor", {"imputed": torch.zeros(6, 1, 4, 4)}),
    ("ppl_vae.compare", "results=None", {"results": None}),
    ("ppl_vae.compare", "no results", {"results": {}}),
    ("ppl_vae.compare", "a list", {"results": ["run"]}),
    ("ppl_vae.compare", "a number", {"results": {"a": 3}}),
    ("ppl_vae.compare", "no file", {"results": {"a": "no/such/run"}}),
    ("ppl_vae.compare", "broken JSON", {"results": {"a": Made(lambda: at("broken.json"))}}),
    ("ppl_vae.compare", "a folder without results", {"results": Made(lambda: {"a": at("empty")})}),
    ("ppl_vae.compare", "a list in JSON", {"results": Made(lambda: {"a": at("list.json")})}),
    ("ppl_vae.diagnostics.elpd", "an unknown option", {"nonsense": 3}),
    ("ppl_vae.diagnostics.log_marginal_likelihood", "an unknown option", {"nonsense": 3}),
    ("ppl_vae.diagnostics.elpd", "num_samples=0", {"num_samples": 0}),
    ("ppl_vae.diagnostics.elpd", "num_samples=1.5", {"num_samples": 1.5}),
    ("ppl_vae.diagnostics.log_marginal_likelihood", "num_samples=1.5", {"num_samples": 1.5}),
    ("ppl_vae.diagnostics.posterior_predictive_check", "statistics=3", {"statistics": 3}),
    ("ppl_vae.diagnostics.posterior_predictive_check", "no statistics", {"statistics": {}}),
    ("ppl_vae.diagnostics.posterior_predictive_check", "no function", {"statistics": {"a": 3}}),
    (
        "ppl_vae.diagnostics.posterior_predictive_check",
        "a statistic of none",
        {"statistics": {"a": _nothing}},
    ),
    (
        "ppl_vae.diagnostics.posterior_predictive_check",
        "a statistic of text",
        {"statistics": {"a": _text}},
    ),
    ("ppl_vae.diagnostics.bdmc", "init=guess", {"init": "guess"}),
    ("ppl_vae.diagnostics.ais", "init=prir", {"init": "prir"}),
    ("ppl_vae.diagnostics.elpd", "method=iwa", {"method": "iwa"}),
    ("ppl_vae.fit", "program=None", {"program": None}),
    ("ppl_vae.fit", "program=VAE", {"program": ppl_vae.VAE}),
    ("ppl_vae.fit", "program=a network", {"program": nn.Linear(2, 2)}),
    ("ppl_vae.fit", "data=None", {"data": None}),
    ("ppl_vae.fit", "data=text", {"data": "digits"}),
    ("ppl_vae.fit", "data=no data", {"data": torch.zeros(0, 1, 4, 4)}),
    ("ppl_vae.fit", "data=NaN", {"data": torch.full((4, 1, 4, 4), math.nan)}),
    ("ppl_vae.fit", "data=another width", {"data": torch.zeros(4, 1, 4, 5)}),
    ("ppl_vae.fit", "data=outside the support", {"data": torch.full((4, 1, 4, 4), 2.0)}),
    ("ppl_vae.fit", "data=0 dimensions", {"data": torch.tensor(1.0)}),
    ("ppl_vae.fit", "data=complex", {"data": torch.zeros(4, 1, 4, 4, dtype=torch.complex64)}),
    ("ppl_vae.fit", "objective=text", {"objective": "Trace_ELBO"}),
    ("ppl_vae.fit", "objective=a class of another kind", {"objective": nn.Linear}),
    ("ppl_vae.fit", "beta=-1", {"beta": -1.0}),
    ("ppl_vae.fit", "beta=0", {"beta": 0.0}),
    ("ppl_vae.fit", "beta=inf", {"beta": math.inf}),
    ("ppl_vae.fit", "beta=a class", {"beta": objectives.Linear}),
    ("ppl_vae.fit", "optimizer=None", {"optimizer": None}),
    ("ppl_vae.fit", "optimizer=text", {"optimizer": "adam"}),
    ("ppl_vae.fit", "optimizer gives no optimizer", {"optimizer": lambda parameters: 3}),
    ("ppl_vae.fit", "schedule=text", {"schedule": "cosine"}),
    ("ppl_vae.fit", "schedule gives no schedule", {"schedule": lambda optimizer, steps: 3}),
    ("ppl_vae.fit", "clip_norm=0", {"clip_norm": 0}),
    ("ppl_vae.fit", "encoder_steps=0", {"encoder_steps": 0}),
    ("ppl_vae.fit", "clip_norm=-1", {"clip_norm": -1}),
    ("ppl_vae.fit", "patience=0", {"patience": 0}),
    ("ppl_vae.fit", "run=3", {"run": 3}),
    ("ppl_vae.fit", "run=''", {"run": ""}),
    ("ppl_vae.fit", "resume without run", {"resume": True}),
    ("ppl_vae.fit", "callbacks=3", {"callbacks": 3}),
    ("ppl_vae.fit", "callbacks=[3]", {"callbacks": [3]}),
    ("ppl_vae.fit", "device=gpu", {"device": "gpu"}),
    ("ppl_vae.fit", "validation=text", {"validation": "a"}),
    ("ppl_vae.fit", "objective without particles", {"objective": objectives.Trace_ELBO(num_particles=0)}),
    ("ppl_vae.fit", "objective of half a particle", {"objective": objectives.TraceMeanField_ELBO(num_particles=1.5)}),
    ("ppl_vae.fit_prior", "vae=None", {"vae": None}),
    ("ppl_vae.fit_prior", "vae=a class", {"vae": ppl_vae.VAE}),
    ("ppl_vae.fit_prior", "x=None", {"x": None}),
    ("ppl_vae.fit_prior", "x=text", {"x": "digits"}),
    ("ppl_vae.fit_prior", "prior=None", {"prior": None}),
    ("ppl_vae.fit_prior", "prior=an instance", {"prior": Made(lambda: ppl_vae.StandardNormal(2))}),
    ("ppl_vae.fit_prior", "prior=a posterior", {"prior": ppl_vae.DiagonalNormal}),
    ("ppl_vae.fit_prior", "prior=text", {"prior": "VampPrior"}),
    ("ppl_vae.fit_prior", "mask=text", {"mask": "all"}),
    ("ppl_vae.report", "a folder without a run", {"runs": Made(lambda: at("empty"))}),
    ("ppl_vae.report", "no folder", {"runs": "no/such/run"}),
    ("ppl_vae.report", "None", {"runs": None}),
    ("ppl_vae.report", "no runs", {"runs": []}),
    ("ppl_vae.report", "a number", {"runs": 3}),
    ("ppl_vae.report", "numbers", {"runs": [3]}),
    ("ppl_vae.report", "no data, and a run of data in memory", {"data": None}),
    ("ppl_vae.report", "data=3", {"data": 3}),
    ("ppl_vae.report", "data=[]", {"data": []}),
    ("ppl_vae.report", "two splits for a run", {"data": Made(lambda: [split(), split()])}),
    ("ppl_vae.report", "take=0", {"take": 0}),
    ("ppl_vae.report", "num_samples=0", {"num_samples": 0}),
    ("ppl_vae.report", "num_samples=2", {"num_samples": 2}),
    ("ppl_vae.report", "method=exact", {"method": "exact"}),
    ("ppl_vae.report", "seed=-1", {"seed": -1}),
    ("ppl_vae.report", "diagnostics=[3]", {"diagnostics": [3]}),
    ("ppl_vae.report", "out=3", {"out": 3}),
    ("ppl_vae.load", "a folder without a run", {}),
    ("ppl_vae.load", "no folder", {"run": "no/such/run"}),
    ("ppl_vae.load", "None", {"run": None}),
    ("ppl_vae.load", "a number", {"run": 3}),
    ("ppl_vae.load", "a file", {"run": Made(lambda: at("text.txt"))}),
    ("ppl_vae.load", "classes=3", {"classes": 3}),
    ("ppl_vae.load", "classes=[3]", {"classes": [3]}),
    ("ppl_vae.load", "vae=3", {"vae": 3}),
    ("ppl_vae.load", "device=gpu", {"device": "gpu"}),
    ("ppl_vae.evaluation.disentanglement", "no factors", {}),
    ("ppl_vae.evaluation.disentanglement", "x=None", {"x": None}),
    ("ppl_vae.evaluation.disentanglement", "program=None", {"program": None}),
    ("ppl_vae.evaluation.kl_per_unit", "x=None", {"x": None}),
    ("ppl_vae.evaluation.per_column", "x=None", {"x": None}),
    ("ppl_vae.evaluation.per_column", "program=None", {"program": None}),
    ("ppl_vae.evaluation.per_column", "an unknown column", {"columns": ["height"]}),
    ("ppl_vae.evaluation.per_column", "column 99", {"columns": [99]}),
    ("ppl_vae.evaluation.per_column", "x=NaN", {"x": DATA["NaN"]}),
    ("ppl_vae.Heterogeneous", "columns=a class", {"columns": ppl_vae.Gaussian}),
    ("ppl_vae.Heterogeneous", "an unknown column", {"columns": {"height": ppl_vae.Gaussian}}),
    ("ppl_vae.Heterogeneous", "a likelihood of another kind", {"columns": {"real": ppl_vae.Bernoulli}}),
    ("ppl_vae.Heterogeneous", "an instance", {"columns": {"real": Made(lambda: ppl_vae.Gaussian(**OF_Z))}}),
    ("ppl_vae.Heterogeneous", "a domain of other columns", {"domain": THREE_COLUMNS}),
    ("ppl_vae.Heterogeneous", "too few names", {"names": ("a",)}),
    ("ppl_vae.evaluation.kl_per_unit", "program=None", {"program": None}),
    ("ppl_vae.evaluation.kl_per_unit", "program=a class", {"program": ppl_vae.VAE}),
    ("ppl_vae.evaluation.kl_per_unit", "x=NaN", {"x": DATA["NaN"]}),
    ("ppl_vae.evaluation.factor_scores", "another length", {"factors": Z[:10]}),
    ("ppl_vae.evaluation.factor_scores", "names of another number", {"names": ["a"]}),
    ("ppl_vae.evaluation.factor_scores", "names=3", {"names": 3}),
    ("ppl_vae.evaluation.factor_scores", "units of another number", {"units": ["a"]}),
    ("ppl_vae.evaluation.factor_scores", "an unknown factor", {"categorical": ["nonsense"]}),
    ("ppl_vae.evaluation.factor_scores", "num_bins=1", {"num_bins": 1}),
    ("ppl_vae.evaluation.factor_vae_score", "another length", {"factors": Z[:10].round(1)}),
    ("ppl_vae.evaluation.factor_vae_score", "continuous factors", {"factors": Z}),
    ("ppl_vae.evaluation.factor_vae_score", "constant factors", {"factors": np.ones((20, 2))}),
    ("ppl_vae.evaluation.factor_vae_score", "constant codes", {"codes": np.ones((20, 2))}),
    ("ppl_vae.evaluation.factor_vae_score", "group_size=1", {"group_size": 1}),
    ("ppl_vae.evaluation.factor_vae_score", "num_groups=3", {"num_groups": 3}),
    ("ppl_vae.evaluation.image_quality", "data_range=0", {"data_range": 0.0}),
    ("ppl_vae.evaluation.image_quality", "data_range=-1", {"data_range": -1.0}),
    ("ppl_vae.evaluation.image_quality", "data_range=inf", {"data_range": math.inf}),
    ("ppl_vae.evaluation.image_quality", "another shape", {"x_hat": PICTURES[:3]}),
    *(
        ("ppl_vae.build", f"{part}={said}", {part: value})
        for part, instance in {
            "prior": Made(lambda: ppl_vae.StandardNormal(2)),
            "posterior": Made(lambda: ppl_vae.DiagonalNormal(**SHAPES)),
            "likelihood": Made(lambda: ppl_vae.Bernoulli(**OF_Z)),
            "encoder": Made(lambda: nn.Linear(16, 2)),
            "decoder": Made(lambda: nn.Linear(2, 16)),
            "corruption": Made(lambda: ppl_vae.Masking()),
        }.items()
        for said, value in {
            "text": "StandardNormal",
            "3": 3,
            "an instance": instance,
            "nothing made": _nothing,
        }.items()
    ),
    ("ppl_vae.build", "prior=None", {"prior": None}),
    ("ppl_vae.build", "prior=a likelihood", {"prior": ppl_vae.Bernoulli}),
    ("ppl_vae.build", "posterior=a prior", {"posterior": ppl_vae.StandardNormal}),
    ("ppl_vae.build", "likelihood=a prior", {"likelihood": ppl_vae.StandardNormal}),
    ("ppl_vae.build", "corruption=a prior", {"corruption": ppl_vae.StandardNormal}),
    ("ppl_vae.build", "an unknown setting", {"prior": partial(ppl_vae.GaussianMixture, nonsense=3)}),
    ("ppl_vae.build", "data=None", {"data": None}),
    ("ppl_vae.build", "data=text", {"data": "digits"}),
    ("ppl_vae.build", "data=a tensor", {"data": torch.zeros(4, 3)}),
    ("ppl_vae.build", "data=a Split", {"data": Made(split)}),
    ("ppl_vae.VAE", "prior=None", {"prior": None}),
    ("ppl_vae.VAE", "prior=a class", {"prior": ppl_vae.StandardNormal}),
    ("ppl_vae.VAE", "likelihood=None", {"likelihood": None}),
    ("ppl_vae.VAE", "likelihood=a class", {"likelihood": ppl_vae.Bernoulli}),
    ("ppl_vae.VAE", "posterior=None", {"posterior": None}),
    ("ppl_vae.VAE", "posterior=a class", {"posterior": ppl_vae.DiagonalNormal}),
    ("ppl_vae.VAE", "corruption=text", {"corruption": "noise"}),
    ("ppl_vae.VAE", "corruption=a class", {"corruption": ppl_vae.Masking}),
    ("ppl_vae.Program", "model=None", {"model": None}),
    ("ppl_vae.Program", "guide=text", {"guide": "guide"}),
    ("ppl_vae.SaltAndPepper", "low above high", {"low": 1.0, "high": 0.0}),
    ("ppl_vae.SaltAndPepper", "rate=1.5", {"rate": 1.5}),
    ("ppl_vae.Masking", "rate=0", {"rate": 0.0}),
    ("ppl_vae.Masking", "rate=-1", {"rate": -1.0}),
    ("ppl_vae.GaussianNoise", "scale=0", {"scale": 0.0}),
    ("ppl_vae.GaussianNoise", "scale=inf", {"scale": math.inf}),
    ("ppl_vae.OneCycle", "peak=-0.01", {"peak": -0.01}),
    ("ppl_vae.OneCycle", "peak=0", {"peak": 0}),
    ("ppl_vae.OneCycle", "rise=1", {"rise": 1.0}),
    ("ppl_vae.DataSpec", "masked=text", {"masked": "yes"}),
    ("ppl_vae.build", "start=text", {"start": "middle"}),
    ("ppl_vae.build", "start=1", {"start": 1}),
    ("ppl_vae.build", "mask_input=text", {"mask_input": "yes"}),
    ("ppl_vae.VAE", "mask_input=text", {"mask_input": "yes"}),
    *(
        (name, f"context_to={given!r}", {"context_to": given})
        for name in ("ppl_vae.build", "ppl_vae.VAE")
        for given in ("likelihood", [], ["encoder", "everything"], 1)
    ),
    ("ppl_vae.build", "context_to of no context", {"context_to": "decoder"}),
    ("ppl_vae.DataSpec", "x_shape=3", {"x_shape": 3}),
    ("ppl_vae.DataSpec", "x_shape=(0,)", {"x_shape": (0,)}),
    ("ppl_vae.DataSpec", "domain=text", {"domain": "binary"}),
    (
        "ppl_vae.DataSpec",
        "a domain of other columns",
        {"x_shape": (2,), "domain": THREE_COLUMNS},
    ),
    ("ppl_vae.DataSpec", "context_shapes=(3,)", {"context_shapes": (3,)}),
    *(
        (f"ppl_vae.{name}", f"an exposure {said}", {"exposure": value})
        for name in ("Poisson", "NegativeBinomial", "ZeroInflatedNegativeBinomial")
        for said, value in {"without context": True, "by name without context": "context", "misspelled": "totl"}.items()
    ),
    ("ppl_vae.NegativeBinomial", "dispersion=gene", {"dispersion": "gene"}),
    ("ppl_vae.ZeroInflatedNegativeBinomial", "dispersion=1", {"dispersion": 1.0}),
    ("ppl_vae.Domain", "kind=grey", {"kind": "grey"}),
    ("ppl_vae.Domain", "levels without a number", {"levels": None}),
    ("ppl_vae.Domain", "span=0", {"kind": "real", "levels": None, "span": 0.0}),
    ("ppl_vae.Domain", "categories without a number", {"kind": "categories", "levels": None}),
    ("ppl_vae.Domain", "an unknown kind in a column", {"kind": ("real", "grey"), "levels": None}),
    ("ppl_vae.Domain", "tuples of two lengths", {"kind": ("real", "unit"), "levels": None, "span": (1.0, 2.0, 3.0)}),
    ("ppl_vae.Domain", "an empty tuple", {"kind": (), "levels": None}),
    ("ppl_vae.Domain", "span=0 in a column", {"kind": "real", "levels": None, "span": (1.0, 0.0)}),
    ("ppl_vae.Domain", "span=inf", {"kind": "real", "levels": None, "span": math.inf}),
    ("ppl_vae.data.Split", "x=None", {"x": None}),
    ("ppl_vae.data.Split", "index=None", {"index": None}),
    ("ppl_vae.data.Split", "index too long", {"index": torch.arange(9)}),
    ("ppl_vae.data.Split", "y=text", {"y": "abcd"}),
    ("ppl_vae.data.Split", "mask of another shape", {"mask": torch.ones(4, 2, dtype=torch.bool)}),
    ("ppl_vae.data.Split", "mask of floats", {"mask": torch.ones(4, 1, 4, 4)}),
    ("ppl_vae.data.Split", "a domain of other columns", {"domain": THREE_COLUMNS}),
    ("ppl_vae.data.Split", "context=a tensor", {"context": 3}),
    ("ppl_vae.data.Split", "factors of one dimension", {"factors": torch.zeros(4)}),
    ("ppl_vae.data.Data", "train=None", {"train": None}),
    ("ppl_vae.data.Data", "domain=text", {"domain": "binary"}),
    ("ppl_vae.data.Data", "an empty split", {"test": Made(lambda: arrays().test[:0])}),
    ("ppl_vae.data.Dequantize", "levels=0", {"levels": 0}),
    ("ppl_vae.data.Standardize", "scale=0", {"scale": 0.0}),
    ("ppl_vae.data.Standardize", "loc=inf", {"loc": math.inf}),
    ("ppl_vae.data.again", "provenance=None", {"provenance": None}),
    ("ppl_vae.data.again", "an empty provenance", {"provenance": {}}),
    (
        "ppl_vae.data.again",
        "an unknown transform",
        {"provenance": {"name": "digits", "transforms": [{"transform": "a"}]}},
    ),
    ("ppl_vae.data.from_arrays", "y too short", {"y": np.arange(3)}),
    ("ppl_vae.data.from_arrays", "y=text", {"y": "labels"}),
    ("ppl_vae.data.from_arrays", "too few data", {"x": ROWS[:2]}),
    ("ppl_vae.data.from_arrays", "a dict", {"x": {"a": 1}}),
    ("ppl_vae.data.from_arrays", "mask=text", {"mask": "all"}),
    ("ppl_vae.data.from_arrays", "mask of another shape", {"mask": np.ones((40, 2), dtype=bool)}),
    ("ppl_vae.data.from_arrays", "fractions of 2", {"fractions": (0.8, 0.8, 0.4)}),
    ("ppl_vae.data.from_arrays", "two fractions", {"fractions": (0.8, 0.2)}),
    ("ppl_vae.data.from_arrays", "fractions of NaN", {"fractions": (math.nan, 0.5, 0.5)}),
    ("ppl_vae.data.from_arrays", "fractions=text", {"fractions": "all"}),
    ("ppl_vae.data.from_arrays", "domain=text", {"domain": "real"}),
    ("ppl_vae.data.from_arrays", "outside the domain", {"domain": data.Domain("binary")}),
    ("ppl_vae.data.from_arrays", "x_test of another width", {"x_validation": ROWS, "x_test": ROWS[:, :2]}),
    ("ppl_vae.data.from_arrays", "x_test alone", {"y_test": np.arange(3)}),
    ("ppl_vae.data.from_arrays", "context of another length", {"context": np.zeros((3, 2))}),
    ("ppl_vae.data.from_arrays", "context of NaN", {"context": np.full(40, math.nan)}),
    ("ppl_vae.data.from_arrays", "context of three dimensions", {"context": np.zeros((40, 2, 2))}),
    ("ppl_vae.data.from_arrays", "context of test data alone", {"context_test": np.zeros(3)}),
    ("ppl_vae.data.from_arrays", "context of training data alone", {"x_test": ROWS, "context": np.arange(40.0)}),
    ("ppl_vae.data.from_arrays", "a column of NaN", {"x": np.where(np.arange(3) == 1, math.nan, ROWS)}),
    ("ppl_vae.data.from_arrays", "rows that may be pictures", {"x": np.arange(6400).reshape(100, 64) % 256}),
    ("ppl_vae.data.from_arrays", "sparse of no row", {"x": scipy.sparse.csr_matrix((0, 3))}),
    ("ppl_vae.data.from_anndata", "an array", {"adata": np.eye(3)}),
    ("ppl_vae.data.from_anndata", "no such layer", {"layer": "counts"}),
    ("ppl_vae.data.from_anndata", "no such batch", {"batch_key": "plate"}),
    ("ppl_vae.data.from_anndata", "no such label", {"labels_key": "type"}),
    ("ppl_vae.data.from_frame", "a dict", {"frame": {"a": [1, 2]}}),
    ("ppl_vae.data.from_frame", "an array", {"frame": np.eye(3)}),
    ("ppl_vae.data.from_frame", "no row", {"frame": FRAME[:0]}),
    ("ppl_vae.data.from_frame", "no column", {"frame": FRAME[[]]}),
    ("ppl_vae.data.from_frame", "columns of one name", {"frame": pd.concat([FRAME, FRAME], axis=1)}),
    ("ppl_vae.data.from_frame", "lists in a column", {"frame": pd.DataFrame({"a": [[1], [2]] * 20})}),
    ("ppl_vae.data.from_frame", "complex numbers", {"frame": pd.DataFrame({"a": [1j, 2j] * 20})}),
    ("ppl_vae.data.from_frame", "an unknown kind", {"kinds": {"a": "ordinal"}}),
    ("ppl_vae.data.from_frame", "the kind of no column", {"kinds": {"c": "real"}}),
    ("ppl_vae.data.from_frame", "kinds in no file", {"kinds": "no/such/file.yaml"}),
    ("ppl_vae.data.from_frame", "kinds in a file of text", {"kinds": Made(lambda: at("text.txt"))}),
    ("ppl_vae.data.from_frame", "kinds=3", {"kinds": 3}),
    ("ppl_vae.data.from_frame", "no such label", {"label": "c"}),
    ("ppl_vae.data.from_frame", "no such context", {"context": ["c"]}),
    ("ppl_vae.data.from_frame", "no such split", {"split": "c"}),
    ("ppl_vae.data.from_frame", "test data of other columns", {"test": FRAME[["a"]].assign(b="new", c=3)}),
    ("ppl_vae.data.from_frame", "every column skipped", {"kinds": {"a": "skip", "b": "skip"}}),
    ("ppl_vae.data.to_frame", "x of another width", {"x": torch.zeros(2, 3)}),
    ("ppl_vae.data.to_frame", "x of one dimension", {"x": torch.zeros(2)}),
    ("ppl_vae.data.to_frame", "x of text", {"x": "a"}),
    ("ppl_vae.data.to_frame", "data without columns", {"data": Made(arrays)}),
    ("ppl_vae.data.to_frame", "an index of another length", {"index": [1, 2, 3]}),
    ("ppl_vae.data.Column", "an unknown kind", {"kind": "ordinal"}),
    ("ppl_vae.data.Column", "no level", {"levels": 0}),
    ("ppl_vae.data.from_file", "a folder without files", {}),
    ("ppl_vae.data.from_file", "a label of arrays", {"path": Made(lambda: at("rows.npy")), "label": "y"}),
    ("ppl_vae.data.from_file", "a raw context of pictures", {"raw_context": True}),
    ("ppl_vae.data.from_file", "no file", {"path": "no/such/file.npy"}),
    ("ppl_vae.data.from_file", "None", {"path": None}),
    ("ppl_vae.data.from_file", "text", {"path": Made(lambda: at("text.txt"))}),
    ("ppl_vae.data.from_file", "objects", {"path": Made(lambda: at("objects.npy"))}),
    ("ppl_vae.data.from_file", "an array of text", {"path": Made(lambda: at("text.npy"))}),
    ("ppl_vae.data.from_file", "a scalar", {"path": Made(lambda: at("scalar.npy"))}),
    ("ppl_vae.data.load", "a misspelled name", {"name": "digit"}),
    ("ppl_vae.data.load", "an empty name", {"name": ""}),
    ("ppl_vae.data.load", "None", {"name": None}),
    ("ppl_vae.data.load", "binarize=yes", {"binarize": "yes"}),
    ("ppl_vae.data.load", "binarize=True", {"binarize": True}),
    ("ppl_vae.data.load", "likelihood=text", {"likelihood": "Bernoulli"}),
    ("ppl_vae.data.load", "data_dir=3", {"data_dir": 3}),
    ("ppl_vae.data.load", "an empty data_dir", {"name": "mnist", "data_dir": Made(partial(at, "empty"))}),
    ("ppl_vae.data.read_images", "no folder", {"folder": Path("no/such/folder")}),
    ("ppl_vae.data.read_images", "a folder without pictures", {}),
    ("ppl_vae.data.read_images", "None", {"folder": None}),
    ("ppl_vae.manifold.benchmark", "data=None", {"data": None}),
    ("ppl_vae.manifold.benchmark", "data=text", {"data": "digits"}),
    ("ppl_vae.manifold.benchmark", "chosen=text", {"chosen": "PCA"}),
    ("ppl_vae.manifold.benchmark", "chosen=a list", {"chosen": ["PCA"]}),
    ("ppl_vae.manifold.benchmark", "chosen=a dict of text", {"chosen": {"PCA": "PCA"}}),
    ("ppl_vae.manifold.benchmark", "nothing chosen", {"chosen": {}}),
    ("ppl_vae.manifold.benchmark", "too many neighbours", {"num_neighbors": 50}),
    *(
        (f"ppl_vae.manifold.{name}", f"vae={said}", {"vae": value})
        for name in ("code_grid", "decoded", "magnification", "metric", "step_lengths", "smoothness", "geodesic")
        for said, value in PROGRAMS.items()
    ),
    ("ppl_vae.manifold.interpolate", "b of another width", {"b": torch.zeros(3)}),
    ("ppl_vae.manifold.traverse", "values=text", {"values": "a"}),
    ("ppl_vae.manifold.traverse", "no values", {"values": torch.zeros(0)}),
    ("ppl_vae.manifold.traverse", "values of two dimensions", {"values": torch.zeros(3, 2)}),
    ("ppl_vae.manifold.geodesic", "b of another width", {"b": torch.zeros(3)}),
    ("ppl_vae.manifold.geodesic", "through=text", {"through": "a"}),
    ("ppl_vae.manifold.geodesic", "through of another width", {"through": torch.zeros(20, 3)}),
    ("ppl_vae.manifold.code_grid", "codes=text", {"codes": "a"}),
    ("ppl_vae.manifold.code_grid", "codes of another width", {"codes": torch.zeros(20, 3)}),
    ("ppl_vae.manifold.trustworthiness", "z of another length", {"z": ROWS[:9, :2]}),
    ("ppl_vae.manifold.continuity", "z of another length", {"z": ROWS[:9, :2]}),
    ("ppl_vae.manifold.trustworthiness", "too many neighbours", {"num_neighbors": 40}),
    ("ppl_vae.manifold.distance_correlation", "y of another length", {"y": ROWS[:9]}),
    ("ppl_vae.manifold.rmse", "another shape", {"x_hat": ROWS[:9]}),
    ("ppl_vae.manifold.neighbours_right", "y of another length", {"y": np.arange(3)}),
    ("ppl_vae.manifold.neighbours_right", "z of another width", {"z": np.zeros((20, 5))}),
    ("ppl_vae.manifold.methods", "device=gpu", {"device": "gpu"}),
    ("ppl_vae.manifold.methods", "steps=0", {"steps": 0}),
    ("ppl_vae.objectives.FreeBits", "nats=-1", {"nats": -1.0}),
    ("ppl_vae.objectives.FreeBits", "nats=inf", {"nats": math.inf}),
    ("ppl_vae.objectives.InfoVAE", "alpha=2", {"alpha": 2.0}),
    ("ppl_vae.objectives.InfoVAE", "alpha=-inf", {"alpha": -math.inf}),
    ("ppl_vae.objectives.InfoVAE", "weight=-1", {"weight": -1.0}),
    ("ppl_vae.objectives.InfoVAE", "weight=inf", {"weight": math.inf}),
    ("ppl_vae.objectives.Contractive", "weight=-1", {"weight": -1.0}),
    ("ppl_vae.objectives.Commitment", "weight=-1", {"weight": -1.0}),
    ("ppl_vae.objectives.Constant", "beta=0", {"beta": 0.0}),
    ("ppl_vae.objectives.Constant", "beta=inf", {"beta": math.inf}),
    ("ppl_vae.objectives.Linear", "epochs=0", {"epochs": 0}),
    ("ppl_vae.objectives.Linear", "epochs=inf", {"epochs": math.inf}),
    ("ppl_vae.objectives.Cyclical", "cycles=0", {"cycles": 0}),
    ("ppl_vae.objectives.Cyclical", "ramp=2", {"ramp": 2.0}),
    *(
        (name, f"latent_dim={said}", {"latent_dim": value})
        for name, given in GOOD.items()
        if "latent_dim" in given
        for said, value in {"0": 0, "None": None}.items()
    ),
    *(
        (name, f"{shape}={said}", {shape: value})
        for name, given in GOOD.items()
        for shape in ("x_shape", "in_shape", "out_shape")
        if shape in given
        for said, value in {
            "None": None,
            "3": 3,
            "text": "28x28",
            "of text": ("a",),
            "of 0": (0,),
            "of -1": (-1, 2),
            "of 1.5": (1.5,),
        }.items()
    ),
    *(
        (name, f"net={said}", {"net": value})
        for name, given in GOOD.items()
        if "net" in given
        for said, value in {
            "None": None,
            "text": "MLP",
            "a network": nn.Linear(2, 2),
            "gives no network": _nothing,
        }.items()
    ),
    ("ppl_vae.MLP", "hidden_dims=3", {"hidden_dims": 3}),
    ("ppl_vae.MLP", "hidden_dims=(0,)", {"hidden_dims": (0,)}),
    ("ppl_vae.MLP", "context=3", {"context": 3}),
    ("ppl_vae.ConvEncoder", "in_shape of two dimensions", {"in_shape": (8, 8)}),
    ("ppl_vae.ConvDecoder", "out_shape of two dimensions", {"out_shape": (8, 8)}),
    ("ppl_vae.ConvDecoder", "channels=()", {"channels": ()}),
    ("ppl_vae.ConvEncoder", "channels=(0,)", {"channels": (0,)}),
    ("ppl_vae.GatedConvEncoder", "in_shape of two dimensions", {"in_shape": (8, 8)}),
    ("ppl_vae.GatedConvEncoder", "channels=()", {"channels": ()}),
    ("ppl_vae.GatedConvDecoder", "out_shape of two dimensions", {"out_shape": (8, 8)}),
    ("ppl_vae.GatedConvDecoder", "channels=(0,)", {"channels": (0,)}),
    ("ppl_vae.ResNetEncoder", "in_shape of two dimensions", {"in_shape": (8, 8)}),
    ("ppl_vae.ResNetEncoder", "channels=0", {"channels": 0}),
    ("ppl_vae.ResNetEncoder", "blocks=-1", {"blocks": -1}),
    ("ppl_vae.ResNetDecoder", "out_shape of two dimensions", {"out_shape": (8, 8)}),
    ("ppl_vae.DeepSet", "in_shape of three dimensions", {"in_shape": (8, 2, 2)}),
    ("ppl_vae.DeepSet", "a mask of an odd number of elements", {"in_shape": (7, 2), "masked": True}),
    ("ppl_vae.Conv1dEncoder", "in_shape of three dimensions", {"in_shape": (8, 2, 2)}),
    ("ppl_vae.Conv1dEncoder", "channels=(0,)", {"channels": (0,)}),
    ("ppl_vae.Conv1dDecoder", "out_shape of one dimension", {"out_shape": (8,)}),
    ("ppl_vae.Conv1dDecoder", "channels=()", {"channels": ()}),
    ("ppl_vae.GRUEncoder", "a mask of an odd number of steps", {"in_shape": (7, 2), "masked": True}),
    ("ppl_vae.GRUEncoder", "in_shape of three dimensions", {"in_shape": (8, 2, 2)}),
    ("ppl_vae.GRUEncoder", "hidden_dim=0", {"hidden_dim": 0}),
    ("ppl_vae.GRUDecoder", "out_shape of one dimension", {"out_shape": (8,)}),
    ("ppl_vae.GRUDecoder", "num_layers=0", {"num_layers": 0}),
    ("ppl_vae.TopK", "k above latent_dim", {"k": 3}),
    ("ppl_vae.VectorQuantized", "groups that do not divide", {"groups": 3}),
    ("ppl_vae.VectorQuantized", "decay=1", {"decay": 1.0}),
    ("ppl_vae.Gaussian", "scale=0", {"scale": 0.0}),
    ("ppl_vae.Gaussian", "scale=lerned", {"scale": "lerned"}),
    *(
        (f"ppl_vae.{name}", "scale=optimal", {"scale": "optimal"})
        for name in ("likelihoods.Laplace", "StudentT", "LogNormal")
    ),
    ("ppl_vae.StudentT", "df=2", {"df": 2.0}),
    ("ppl_vae.posteriors.StudentT", "df=2", {"df": 2.0}),
    ("ppl_vae.priors.StudentT", "df=2", {"df": 2.0}),
    ("ppl_vae.priors.StudentT", "df=learned", {"df": "learned"}),
    ("ppl_vae.priors.FullRankNormal", "latent_dim=0", {"latent_dim": 0}),
    ("ppl_vae.StudentT", "df=decoder", {"df": "decoder"}),
    ("ppl_vae.CorrelatedGaussian", "covariance=0", {"covariance": 0}),
    ("ppl_vae.CorrelatedGaussian", "covariance=diagonal", {"covariance": "diagonal"}),
    ("ppl_vae.OrderedLogistic", "levels=1", {"levels": 1}),
    ("ppl_vae.DiscretizedLogisticMixture", "levels=0", {"levels": 0}),
    ("ppl_vae.DiscretizedLogisticMixture", "num_components=0", {"num_components": 0}),
    ("ppl_vae.Categorical", "levels=0", {"levels": 0}),
    ("ppl_vae.DiscretizedLogistic", "levels=0", {"levels": 0}),
    ("ppl_vae.VampPrior", "posterior=None", {"posterior": None}),
    ("ppl_vae.VampPrior", "posterior=a class", {"posterior": ppl_vae.DiagonalNormal}),
    ("ppl_vae.VampPrior", "pseudo_inputs=text", {"pseudo_inputs": "a"}),
    ("ppl_vae.VampPrior", "pseudo_inputs of another shape", {"pseudo_inputs": torch.zeros(3, 5)}),
    ("ppl_vae.VectorQuantized", "one code", {"num_codes": 1}),
    ("ppl_vae.ResidualQuantized", "one code", {"num_codes": 1}),
    ("ppl_vae.ResidualQuantized", "groups that do not divide", {"groups": 3}),
    ("ppl_vae.FiniteScalar", "one level", {"num_levels": 1}),
    ("ppl_vae.objectives.Commitment", "diversity=-1", {"diversity": -1.0}),
    (
        "ppl_vae.AutoregressiveCodePrior",
        "one group",
        {"posterior": Made(lambda: ppl_vae.VectorQuantized(**SHAPES))},
    ),
    ("ppl_vae.Exemplar", "one exemplar", {"num_components": 1}),
    ("ppl_vae.Exemplar", "one exemplar a step", {"per_step": 1}),
    ("ppl_vae.Exemplar", "posterior=None", {"posterior": None}),
    ("ppl_vae.Exemplar", "pseudo_inputs of another shape", {"pseudo_inputs": torch.zeros(3, 5)}),
    ("ppl_vae.CodePrior", "posterior=None", {"posterior": None}),
    ("ppl_vae.CodePrior", "a posterior without codes", {"posterior": Made(lambda: ppl_vae.DiagonalNormal(**SHAPES))}),
    ("ppl_vae.IAF", "latent_dim=1", {"latent_dim": 1}),
    *(
        (f"ppl_vae.{module}.{leaf}", f"{said}", given)
        for module in ("priors", "posteriors")
        for leaf, said, given in (
            ("Categorical", "one category", {"num_latents": 2}),
            ("Categorical", "num_latents that does not divide", {"latent_dim": 5, "num_latents": 2}),
            ("RelaxedBernoulli", "temperature=0", {"temperature": 0.0}),
            ("RelaxedCategorical", "temperature=0", {"temperature": 0.0}),
            ("RelaxedCategorical", "latent_dim=1", {"latent_dim": 1}),
        )
    ),
    ("ppl_vae.posteriors.Bernoulli", "gradient=exact", {"gradient": "exact"}),
    ("ppl_vae.posteriors.Bernoulli", "too many states", {"latent_dim": 13, "gradient": "enumerate"}),
    ("ppl_vae.posteriors.Categorical", "temperature=0", {"temperature": 0.0}),
    ("ppl_vae.objectives.Renyi", "alpha=-1", {"alpha": -1.0}),
    ("ppl_vae.objectives.RWS", "one draw", {"num_particles": 1}),
    ("ppl_vae.objectives.GroupedIWAE", "groups that do not divide", {"groups": 3, "num_particles": 8}),
    ("ppl_vae.objectives.PIWAE", "groups that do not divide", {"groups": 3, "num_particles": 8}),
    ("ppl_vae.objectives.CIWAE", "weight=2", {"weight": 2.0}),
    ("ppl_vae.objectives.BetaTCVAE", "beta=0.5", {"beta": 0.5}),
    ("ppl_vae.objectives.BetaTCVAE", "estimator=biased", {"estimator": "biased"}),
    *((f"ppl_vae.{name}", "latent_dim=1", {"latent_dim": 1}) for name in ("RealNVP", "NeuralSpline", "MAF")),
    *((f"ppl_vae.{name}", "latent_dim=1", {"latent_dim": 1}) for name in ("PowerSpherical", "SphericalUniform")),
    *(
        (f"ppl_vae.{module}.{name}", "latent_dim=1", {"latent_dim": 1})
        for module in ("priors", "posteriors")
        for name in ("Dirichlet", "LogisticNormal")
    ),
    ("ppl_vae.priors.Dirichlet", "concentration=0", {"concentration": 0.0}),
    ("ppl_vae.NeuralSpline", "num_bins=1", {"num_bins": 1}),
    ("ppl_vae.ZukoPrior", "flow=text", {"flow": "NSF"}),
    ("ppl_vae.ZukoPrior", "a network that is no flow", {"flow": lambda features, context: nn.Linear(2, 2)}),
    ("ppl_vae.SplineFlow", "latent_dim=1", {"latent_dim": 1}),
    ("ppl_vae.SplineFlow", "num_bins=1", {"num_bins": 1}),
    ("ppl_vae.LowRankNormal", "rank=0", {"rank": 0}),
    ("ppl_vae.GaussianMixturePosterior", "num_components=0", {"num_components": 0}),
    ("ppl_vae.plots.bounds", "another length", {"upper": [1.0]}),
    ("ppl_vae.plots.coverage", "another length", {"observed": [0.5]}),
    ("ppl_vae.plots.coverage", "ax=3", {"ax": 3}),
    ("ppl_vae.plots.denoising", "too few names", {"rows": ["a"]}),
    ("ppl_vae.plots.denoising", "rows=3", {"rows": 3}),
    (
        "ppl_vae.plots.draw",
        "an unknown plot",
        {"figure": diagnostics.Figure("a", [[diagnostics.Panel("nonsense", ())]])},
    ),
    (
        "ppl_vae.plots.draw",
        "two panels without a size",
        {"figure": diagnostics.Figure("a", [[diagnostics.Panel("pareto_k", ([0.1],))] * 2])},
    ),
    ("ppl_vae.plots.elbo_curves", "history=None", {"history": None}),
    ("ppl_vae.plots.elbo_curves", "a dict", {"history": {"train_elbo": [1.0]}}),
    ("ppl_vae.plots.elbo_curves", "an empty history", {"history": pd.DataFrame()}),
    ("ppl_vae.plots.elbo_curves", "text in it", {"history": pd.DataFrame({"train_elbo": ["a"]})}),
    ("ppl_vae.plots.elbo_curves", "other columns", {"history": pd.DataFrame({"loss": [1.0]})}),
    ("ppl_vae.plots.elbo_curves", "NaN alone", {"history": pd.DataFrame({"train_elbo": [math.nan]})}),
    ("ppl_vae.plots.embeddings", "z=None", {"z": None}),
    ("ppl_vae.plots.embeddings", "an array", {"z": Z}),
    ("ppl_vae.plots.embeddings", "nothing", {"z": {}}),
    ("ppl_vae.plots.embeddings", "three columns", {"z": {"a": ROWS}}),
    ("ppl_vae.plots.embeddings", "text", {"z": {"a": "b"}}),
    ("ppl_vae.plots.embeddings", "labels of another length", {"labels": [1, 2]}),
    ("ppl_vae.plots.latent_space", "labels of another length", {"labels": [1, 2]}),
    ("ppl_vae.plots.latent_space", "dims=(0, 7)", {"dims": (0, 7)}),
    ("ppl_vae.plots.latent_space", "dims=(0, -1)", {"dims": (0, -1)}),
    ("ppl_vae.plots.latent_space", "dims=0", {"dims": 0}),
    ("ppl_vae.plots.gap_decomposition", "another length", {"approximation": [1.0]}),
    ("ppl_vae.plots.gaps_by_guide", "gaps=None", {"gaps": None}),
    ("ppl_vae.plots.gaps_by_guide", "no gaps", {"gaps": {}}),
    ("ppl_vae.plots.gaps_by_guide", "one array", {"gaps": {"a": [1.0]}}),
    ("ppl_vae.plots.images", "two channels", {"x": np.zeros((3, 2, 8, 8))}),
    ("ppl_vae.plots.images", "columns=0", {"columns": 0}),
    ("ppl_vae.plots.images", "vmin=text", {"vmin": "a"}),
    ("ppl_vae.plots.images", "an unknown keyword", {"nonsense": 3}),
    ("ppl_vae.plots.kl_per_unit", "an unknown keyword", {"nonsense": 3}),
    ("ppl_vae.plots.latent_space", "an unknown keyword", {"nonsense": 3}),
    ("ppl_vae.plots.kl_per_unit", "threshold=-1", {"threshold": -1.0}),
    ("ppl_vae.plots.kl_per_unit", "active of another length", {"active": [True]}),
    ("ppl_vae.plots.manifold", "extent=3", {"extent": 3}),
    ("ppl_vae.plots.manifold", "extent of two", {"extent": (0.0, 1.0)}),
    ("ppl_vae.plots.nll_with_errors", "table=None", {"table": None}),
    ("ppl_vae.plots.nll_with_errors", "an empty table", {"table": pd.DataFrame()}),
    ("ppl_vae.plots.nll_with_errors", "other columns", {"table": pd.DataFrame({"a": [1.0]})}),
    ("ppl_vae.plots.pareto_k", "obs of another length", {"obs": [1]}),
    ("ppl_vae.plots.pareto_k", "too few samples", {"num_samples": 3}),
    ("ppl_vae.plots.paths", "z=None", {"z": None}),
    ("ppl_vae.plots.paths", "no paths", {"z": {}}),
    ("ppl_vae.plots.paths", "two dimensions", {"z": {"a": Z}}),
    ("ppl_vae.plots.paths", "text", {"z": {"a": "b"}}),
    ("ppl_vae.plots.paths", "extent alone", {"extent": (0.0, 1.0, 0.0, 1.0)}),
    ("ppl_vae.plots.paths", "codes=text", {"codes": "a"}),
    ("ppl_vae.plots.posterior_against_reference", "no reference", {"reference": None}),
    ("ppl_vae.plots.posterior_against_reference", "dims=(0, -1)", {"dims": (0, -1)}),
    ("ppl_vae.plots.posterior_against_reference", "log_density=text", {"log_density": "a", "reference": None}),
    ("ppl_vae.plots.predictive_check", "label=None", {"label": None}),
    ("ppl_vae.plots.predictive_check", "p_value=2", {"p_value": 2.0}),
    ("ppl_vae.plots.predictive_check", "observed=inf", {"observed": math.inf}),
    ("ppl_vae.plots.reconstructions", "another shape", {"x_hat": PICTURES[:2]}),
    ("ppl_vae.plots.sbc_ecdf_difference", "pit=None", {"pit": None}),
    ("ppl_vae.plots.sbc_ecdf_difference", "no pit", {"pit": {}}),
    ("ppl_vae.plots.sbc_ecdf_difference", "values above 1", {"pit": {"z": [2.0]}}),
    ("ppl_vae.plots.sbc_ecdf_difference", "text", {"pit": {"z": ["a"]}}),
    ("ppl_vae.plots.sbc_ecdf_difference", "band=None", {"band": None}),
    ("ppl_vae.plots.sbc_ecdf_difference", "band of two", {"band": ([0.5], [0.5])}),
    ("ppl_vae.plots.sbc_ecdf_difference", "band of text", {"band": ("a", "b", "c")}),
    ("ppl_vae.plots.traversals", "values of another length", {"values": [1.0]}),
    ("ppl_vae.plots.traversals", "units of another length", {"units": [1]}),
    ("ppl_vae.plots.unit_activity", "threshold=0", {"threshold": 0.0}),
    ("ppl_vae.plots.unit_activity", "another length", {"eigenvalues": [1.0]}),
    ("ppl_vae.plots.walk", "kinds=text", {"kinds": "ab"}),
    ("ppl_vae.plots.walk", "too few kinds", {"kinds": ["a"]}),
    ("ppl_vae.plots.walk", "lengths of another length", {"lengths": [1.0]}),
    ("ppl_vae.plots.worst_fitted", "no values", {"values": {}}),
    ("ppl_vae.plots.worst_fitted", "values=None", {"values": None}),
    ("ppl_vae.plots.worst_fitted", "values of another length", {"values": {"a": [1.0]}}),
    ("ppl_vae.plots.worst_fitted", "values of text", {"values": {"a": "b"}}),
    ("ppl_vae.plots.worst_fitted", "num=0", {"num": 0}),
    ("ppl_vae.plots.worst_fitted", "obs of another length", {"obs": [1]}),
    ("ppl_vae.plots.aggregate_marginals", "another width", {"z_p": ROWS}),
    ("ppl_vae.plots.aggregate_marginals", "an unknown unit", {"units": [7]}),
    ("ppl_vae.plots.aggregate_marginals", "units=text", {"units": "a"}),
    ("ppl_vae.plots.aggregate_posterior", "log_prior=text", {"log_prior": "a"}),
    ("ppl_vae.plots.aggregate_posterior", "labels of another length", {"labels": [1]}),
    ("ppl_vae.plots.factor_importance", "units of another length", {"units": ["a"]}),
]
"""Arguments of the good calls, changed."""


def _estimator(cls: Any, **settings: Any) -> Callable[[], Any]:
    return lambda: cls(**({"epochs": 1} | settings)).fit(ROWS)


def _with_x(cls: Any, x: Any) -> Callable[[], Any]:
    return lambda: cls(epochs=1).fit(x)


def _fitted(call: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: call(_trained())


@functools.cache
def _trained() -> Any:
    return sklearn.VariationalAutoencoder(2, epochs=1, hidden_dims=(4,), random_state=0).fit(ROWS)


ESTIMATORS: dict[str, Any] = {name: getattr(sklearn, name) for name in sklearn.__all__}

CALLS: list[tuple[str, str, Callable[[], Any]]] = [
    ("ppl_vae.Prior", "site=3", lambda: OwnPrior(site=3)),
    ("ppl_vae.Prior", "an unknown keyword", lambda: OwnPrior(name="z")),
    ("ppl_vae.Conditional", "site=None", lambda: OwnPrior(None)),
    ("ppl_vae.Conditional", "site=''", lambda: OwnPrior("")),
    ("ppl_vae.Amortized", "in_shape=3", lambda: OwnAmortized(3, (2,), SMALL)),
    ("ppl_vae.Amortized", "net=None", lambda: OwnAmortized((3,), (2,), None)),
    ("ppl_vae.Amortized", "context=3", lambda: OwnAmortized((3,), (2,), SMALL, context=3)),
    ("ppl_vae.Posterior", "latent_dim=0", lambda: OwnPosterior((3,), 0)),
    ("ppl_vae.Posterior", "net=None", lambda: OwnPosterior((3,), 2, None)),
    ("ppl_vae.Likelihood", "num_params=0", lambda: OwnLikelihood(2, (3,), num_params=0)),
    ("ppl_vae.Likelihood", "x_shape=3", lambda: OwnLikelihood(2, 3)),
    ("ppl_vae.likelihoods.Rowwise", "x_shape=3", lambda: OwnRows(2, 3)),
    ("ppl_vae.callbacks.Logger", "every=0", lambda: ppl_vae.callbacks.CSV("logs", every=0)),
    ("ppl_vae.Corruption", "whole numbers", lambda: ppl_vae.Masking()(torch.ones(3, dtype=torch.int64))),
    ("ppl_vae.Corruption", "None", lambda: ppl_vae.Masking()(None)),
    ("ppl_vae.Corruption", "an array", lambda: ppl_vae.Masking()(np.ones(3))),
    ("ppl_vae.Chain", "no levels", lambda: ppl_vae.Chain()),
    ("ppl_vae.Chain", "None", lambda: ppl_vae.Chain(None)),
    ("ppl_vae.Chain", "a class", lambda: ppl_vae.Chain(ppl_vae.StandardNormal)),
    ("ppl_vae.Chain", "one site twice", lambda: ppl_vae.Chain(ppl_vae.StandardNormal(2), ppl_vae.StandardNormal(2))),
    ("ppl_vae.objectives.BetaSchedule", "a beta of text", lambda: called("ppl_vae.fit", beta="warm")),
    ("ppl_vae.objectives.Trace_ELBO", "a program in its place", lambda: called("ppl_vae.fit", objective=vae())),
    ("ppl_vae.objectives.TraceMeanField_ELBO", "an instance of nothing", lambda: called("ppl_vae.fit", objective=3)),
    ("ppl_vae.objectives.check", "objective=None", lambda: objectives.check(None, None, None)),
    ("ppl_vae.objectives.check", "traces of none", lambda: objectives.check(objectives.IWAE(), None, None)),
    ("ppl_vae.Evaluation", "no file", lambda: ppl_vae.Evaluation.load("no/such/file.json")),
    ("ppl_vae.Evaluation", "broken JSON", lambda: ppl_vae.Evaluation.load(at("broken.json"))),
    ("ppl_vae.Evaluation", "a list in JSON", lambda: ppl_vae.Evaluation.load(at("list.json"))),
    ("ppl_vae.Evaluation", "a folder", lambda: ppl_vae.Evaluation.load(folder())),
    ("ppl_vae.Evaluation", "None", lambda: ppl_vae.Evaluation.load(None)),
    ("ppl_vae.Evaluation", "saved in no folder", lambda: evaluated().save("no/such/folder/file.json")),
    ("ppl_vae.Evaluation", "saved as 3", lambda: evaluated().save(3)),
    ("ppl_vae.Evaluation", "nothing", lambda: ppl_vae.Evaluation()),
    ("ppl_vae.diagnostics.Elpd", "of None", lambda: diagnostics.Elpd.of(None)),
    ("ppl_vae.Refined", "nothing", lambda: ppl_vae.Refined()),
    ("ppl_vae.Refined", "resampled(0)", lambda: refined().resampled(0)),
    ("ppl_vae.Refined", "resampled of a negative seed", lambda: refined().resampled(3, seed=-1)),
    ("ppl_vae.Imputation", "nothing", lambda: ppl_vae.Imputation()),
    ("ppl_vae.Imputation", "intervals(0)", lambda: imputed().intervals(0.0)),
    ("ppl_vae.Imputation", "intervals(1)", lambda: imputed().intervals(1.0)),
    ("ppl_vae.Imputation", "intervals(0.99) of 40 draws", lambda: imputed().intervals(0.99)),
    ("ppl_vae.Imputation", "intervals('a')", lambda: imputed().intervals("a")),
    ("ppl_vae.Imputation", "completed(40)", lambda: imputed().completed(40)),
    ("ppl_vae.Imputation", "completed(-1)", lambda: imputed().completed(-1)),
    ("ppl_vae.Imputation", "to_frame of pictures", lambda: imputed().to_frame()),
    ("ppl_vae.diagnostics.Elpd", "held_out=3", lambda: diagnostics.Elpd.of(evaluated(), held_out=3)),
    ("ppl_vae.diagnostics.Elpd", "nothing", lambda: diagnostics.Elpd()),
    ("ppl_vae.diagnostics.GuideCheck", "nothing", lambda: diagnostics.GuideCheck()),
    ("ppl_vae.diagnostics.GuideCheck", "None", lambda: diagnostics.GuideCheck(None)),
    ("ppl_vae.diagnostics.GuideCheck", "worst(0)", lambda: check().worst(0)),
    ("ppl_vae.diagnostics.GuideCheck", "worst(1.5)", lambda: check().worst(1.5)),
    ("ppl_vae.diagnostics.GuideCheck", "worst('a')", lambda: check().worst("a")),
    ("ppl_vae.diagnostics.GuideCheck", "stratified(0)", lambda: check().stratified(0)),
    ("ppl_vae.diagnostics.GuideCheck", "stratified(None)", lambda: check().stratified(None)),
    ("ppl_vae.diagnostics.Diagnosis", "nothing", lambda: diagnostics.Diagnosis()),
    ("ppl_vae.diagnostics.Diagnostic", "nothing", lambda: diagnostics.Diagnostic()),
    ("ppl_vae.diagnostics.Diagnostic", "run=3", lambda: diagnostics.Diagnostic(name="a", run=3)),
    ("ppl_vae.diagnostics.Diagnostic", "name=3", lambda: diagnostics.Diagnostic(name=3, run=print)),
    ("ppl_vae.diagnostics.Figure", "nothing", lambda: diagnostics.Figure()),
    ("ppl_vae.diagnostics.Figure", "rows=3", lambda: diagnostics.Figure("a", 3)),
    ("ppl_vae.diagnostics.Panel", "nothing", lambda: diagnostics.Panel()),
    ("ppl_vae.diagnostics.Panel", "plot=3", lambda: diagnostics.Panel(3, ())),
    ("ppl_vae.diagnostics.Subject", "nothing", lambda: diagnostics.Subject()),
    ("ppl_vae.evaluation.FactorScores", "nothing", lambda: evaluation.FactorScores()),
    ("ppl_vae.manifold.Benchmark", "nothing", lambda: manifold.Benchmark()),
    (
        "ppl_vae.manifold.Benchmark",
        "an unknown method",
        lambda: called("ppl_vae.manifold.benchmark").differences("PAC"),
    ),
    ("ppl_vae.manifold.Geodesic", "nothing", lambda: manifold.Geodesic()),
    ("ppl_vae.manifold.Method", "nothing", lambda: manifold.Method()),
    ("ppl_vae.manifold.Method", "make=3", lambda: manifold.Method(3, "")),
    ("ppl_vae.Fit", "nothing", lambda: ppl_vae.Fit()),
    ("ppl_vae.Run", "nothing", lambda: ppl_vae.Run()),
    ("ppl_vae.training.State", "an unknown keyword", lambda: training.State(nonsense=3)),
    # methods of data
    ("ppl_vae.data.Data", "binarize('yes')", lambda: grey().binarize("yes")),
    ("ppl_vae.data.Data", "binarize(3)", lambda: grey().binarize(3)),
    ("ppl_vae.data.Data", "threshold=2", lambda: grey().binarize("threshold", threshold=2.0)),
    ("ppl_vae.data.Data", "threshold='a'", lambda: grey().binarize("threshold", threshold="a")),
    ("ppl_vae.data.Data", "binarize(seed=-1)", lambda: grey().binarize("static", seed=-1)),
    ("ppl_vae.data.Data", "binarize(seed=1.5)", lambda: grey().binarize("static", seed=1.5)),
    ("ppl_vae.data.Data", "binarize of binary data", lambda: arrays().binarize()),
    ("ppl_vae.data.Data", "dequantize of binary data", lambda: arrays().dequantize()),
    ("ppl_vae.data.Data", "as_counts of binary data", lambda: arrays().as_counts()),
    ("ppl_vae.data.Data", "dequantize(seed='a')", lambda: grey().dequantize(seed="a")),
    ("ppl_vae.data.Data", "standardize(seed=1.5)", lambda: grey().standardize(seed=1.5)),
    ("ppl_vae.data.Data", "standardize(per='row')", lambda: grey().standardize(per="row")),
    ("ppl_vae.data.Data", "standardize images by column", lambda: grey().dequantize().standardize(per="column")),
    ("ppl_vae.data.Data", "suit(None)", lambda: grey().suit(None)),
    ("ppl_vae.data.Data", "suit('Bernoulli')", lambda: grey().suit("Bernoulli")),
    ("ppl_vae.data.Data", "suit of an instance", lambda: grey().suit(ppl_vae.Bernoulli(**OF_Z))),
    ("ppl_vae.data.Data", "suit of a prior", lambda: grey().suit(ppl_vae.StandardNormal)),
    ("ppl_vae.data.Data", "condition without labels", lambda: data.from_arrays(ROWS).condition_on_labels()),
    ("ppl_vae.data.Data", "take(0)", lambda: grey().take(0)),
    ("ppl_vae.data.Data", "take(-1)", lambda: grey().take(-1)),
    ("ppl_vae.data.Data", "take(1.5)", lambda: grey().take(1.5)),
    ("ppl_vae.data.Data", "take('a')", lambda: grey().take("a")),
    ("ppl_vae.data.Data", "take(True)", lambda: grey().take(True)),
    ("ppl_vae.data.Data", "take(10**9)", lambda: grey().take(10**9)),
    ("ppl_vae.data.Data", "take(nonsense=1)", lambda: grey().take(nonsense=1)),
    ("ppl_vae.data.Data", "hide(0)", lambda: grey().hide(0)),
    ("ppl_vae.data.Data", "hide(1)", lambda: grey().hide(1)),
    ("ppl_vae.data.Data", "hide('a')", lambda: grey().hide("a")),
    ("ppl_vae.data.Data", "hide(nan)", lambda: grey().hide(math.nan)),
    ("ppl_vae.data.Data", "hide(seed=-1)", lambda: grey().hide(0.5, seed=-1)),
    ("ppl_vae.data.Split", "of None", lambda: data.Split.of(None)),
    ("ppl_vae.data.Split", "of text", lambda: data.Split.of("a")),
    ("ppl_vae.data.Split", "of 0 dimensions", lambda: data.Split.of(torch.tensor(1.0))),
    ("ppl_vae.data.Split", "of a context beside a split", lambda: data.Split.of(split(), torch.zeros(6))),
    ("ppl_vae.data.Split", "of complex numbers", lambda: data.Split.of(torch.zeros(3, dtype=torch.complex64))),
    ("ppl_vae.data.Split", "rows of text", lambda: split()["a"]),
    ("ppl_vae.data.Split", "rows that are not there", lambda: split()[torch.tensor([99])]),
    ("ppl_vae.data.Split", "to an unknown device", lambda: split().to("gpu")),
    ("ppl_vae.data.Split", "fixed(seed=-1)", lambda: grey().binarize().train.fixed(seed=-1)),
    ("ppl_vae.Domain", "contains(None)", lambda: data.Domain("binary").contains(None)),
    ("ppl_vae.Domain", "raw(None)", lambda: data.Domain("binary").raw(None)),
    ("ppl_vae.Domain", "rescaled by 0", lambda: data.Domain("real").rescaled(0.0, 0.0, kind="real")),
    ("ppl_vae.Domain", "x of other columns", lambda: THREE_COLUMNS.contains(torch.zeros(2, 2))),
    (
        "ppl_vae.Domain",
        "rescaled by 2 spans",
        lambda: THREE_COLUMNS.rescaled(0.0, (1.0, 2.0), kind="real"),
    ),
    ("ppl_vae.Domain", "columns of another number", lambda: THREE_COLUMNS.columns(2)),
    ("ppl_vae.Domain", "rescaled to nonsense", lambda: data.Domain("real").rescaled(0.0, 1.0, kind="grey")),
    # methods of a VAE
    *(
        ("ppl_vae.VAE", f"{verb}: {said}", partial(lambda verb, value: getattr(vae(), verb)(_of(value)), verb, value))
        for verb in ("encode", "reconstruct")
        for said, value in DATA.items()
    ),
    *(
        ("ppl_vae.VAE", f"decode: {said}", partial(lambda value: vae().decode(value), value))
        for said, value in TENSORS.items()
    ),
    ("ppl_vae.Batch", "x that is none", lambda: ppl_vae.Batch("x")),
    ("ppl_vae.VAE", "sample(0)", lambda: vae().sample(0)),
    ("ppl_vae.VAE", "sample(-1)", lambda: vae().sample(-1)),
    ("ppl_vae.VAE", "sample(1.5)", lambda: vae().sample(1.5)),
    ("ppl_vae.VAE", "sample('3')", lambda: vae().sample("3")),
    ("ppl_vae.VAE", "sample(True)", lambda: vae().sample(True)),
    ("ppl_vae.VAE", "sample(seed=-1)", lambda: vae().sample(3, seed=-1)),
    ("ppl_vae.VAE", "sample(mean=3)", lambda: vae().sample(3, mean=3)),
    ("ppl_vae.VAE", "sample(total=10) of no counts", lambda: vae().sample(3, total=10)),
    ("ppl_vae.VAE", "sample(total='10')", lambda: vae().sample(3, total="10")),
    ("ppl_vae.VAE", "sample with a context too many", lambda: vae().sample(3, torch.zeros(3, 3))),
    ("ppl_vae.VAE", "sample without its context", lambda: conditional()[0].sample(3)),
    ("ppl_vae.VAE", "sample with a short context", lambda: conditional()[0].sample(3, torch.zeros(2, 3))),
    ("ppl_vae.VAE", "sample with a wide context", lambda: conditional()[0].sample(3, torch.zeros(3, 9))),
    ("ppl_vae.VAE", "sample with a context of text", lambda: conditional()[0].sample(3, "abc")),
    ("ppl_vae.VAE", "encode without its context", lambda: conditional()[0].encode(x())),
    ("ppl_vae.VAE", "reconstruct without its context", lambda: conditional()[0].reconstruct(x())),
    ("ppl_vae.VAE", "reconstruct(seed=1.5)", lambda: vae().reconstruct(x(), seed=1.5)),
    ("ppl_vae.VAE", "encode(mask='all')", lambda: vae().encode(x(), mask="all")),
    # estimators
    *(
        (f"ppl_vae.sklearn.{name}", what, _estimator(cls, **settings))
        for name, cls in ESTIMATORS.items()
        for what, settings in {
            "n_components=0": {"n_components": 0},
            "n_components=1.5": {"n_components": 1.5},
            "n_components='2'": {"n_components": "2"},
            "prior='StandardNormal'": {"prior": "StandardNormal"},
            "prior=None": {"prior": None},
            "posterior=None": {"posterior": None},
            "likelihood='Gaussian'": {"likelihood": "Gaussian"},
            "likelihood=a prior": {"likelihood": ppl_vae.StandardNormal},
            "net='MLP'": {"net": "MLP"},
            "hidden_dims=3": {"hidden_dims": 3},
            "hidden_dims=(0,)": {"hidden_dims": (0,)},
            "hidden_dims=('a',)": {"hidden_dims": ("a",)},
            "activation='rely'": {"activation": "rely"},
            "activation=3": {"activation": 3},
            **(
                {"corruption='noise'": {"corruption": "noise"}}
                if "corruption" in inspect.signature(cls).parameters
                else {}
            ),
            "objective=None": {"objective": None},
            "objective='elbo'": {"objective": "elbo"},
            "epochs=0": {"epochs": 0},
            "epochs=1.5": {"epochs": 1.5},
            "epochs='1'": {"epochs": "1"},
            "batch_size=0": {"batch_size": 0},
            "batch_size=None": {"batch_size": None},
            "learning_rate=0": {"learning_rate": 0.0},
            "learning_rate=nan": {"learning_rate": math.nan},
            "learning_rate='a'": {"learning_rate": "a"},
            "patience=0": {"patience": 0},
            "validation_fraction=1": {"validation_fraction": 1.0},
            "validation_fraction=-1": {"validation_fraction": -1.0},
            "random_state=-1": {"random_state": -1},
            "random_state='a'": {"random_state": "a"},
            "device='gpu'": {"device": "gpu"},
            "device=3": {"device": 3},
        }.items()
    ),
    *(
        (f"ppl_vae.sklearn.{name}", f"X: {said}", _with_x(cls, value))
        for name, cls in ESTIMATORS.items()
        for said, value in {
            "None": None,
            "text": "abc",
            "a list of text": [["a"], ["b"]],
            "a ragged list": [[1.0], [1.0, 2.0]],
            "one dimension": np.zeros(9),
            "three dimensions": np.zeros((9, 2, 2)),
            "no rows": np.zeros((0, 2)),
            "no columns": np.zeros((9, 0)),
            "complex": np.zeros((9, 2), dtype=complex),
            "infinity": np.full((9, 2), np.inf),
            "objects": np.array([[None, object()]], dtype=object),
        }.items()
    ),
    *(
        (f"ppl_vae.sklearn.{name}", what, _estimator(cls, **settings))
        for name, cls in ESTIMATORS.items()
        if name in ("Imputer", "OutlierDetector")
        for what, settings in {
            "num_samples=24": {"num_samples": 24},
            "num_samples=1.5": {"num_samples": 1.5},
            "a point": {"posterior": ppl_vae.Point},
            "codes": {"posterior": ppl_vae.VectorQuantized, "prior": ppl_vae.CodePrior},
        }.items()
    ),
    ("ppl_vae.sklearn.Imputer", "sample_posterior='yes'", _estimator(sklearn.Imputer, sample_posterior="yes")),
    ("ppl_vae.sklearn.Imputer", "an empty column", _with_x(sklearn.Imputer, np.c_[ROWS, np.full(40, np.nan)])),
    ("ppl_vae.sklearn.Imputer", "not fitted", lambda: sklearn.Imputer().transform(ROWS)),
    ("ppl_vae.sklearn.OutlierDetector", "contamination=0", _estimator(sklearn.OutlierDetector, contamination=0.0)),
    ("ppl_vae.sklearn.OutlierDetector", "contamination=1", _estimator(sklearn.OutlierDetector, contamination=1.0)),
    (
        "ppl_vae.sklearn.OutlierDetector",
        "contamination='auto'",
        _estimator(sklearn.OutlierDetector, contamination="auto"),
    ),
    ("ppl_vae.sklearn.OutlierDetector", "NaN", _with_x(sklearn.OutlierDetector, np.where(ROWS > 0, ROWS, np.nan))),
    ("ppl_vae.sklearn.OutlierDetector", "not fitted", lambda: sklearn.OutlierDetector().predict(ROWS)),
    ("ppl_vae.sklearn.VariationalAutoencoder", "beta=-1", _estimator(sklearn.VariationalAutoencoder, beta=-1.0)),
    ("ppl_vae.sklearn.VariationalAutoencoder", "beta='a'", _estimator(sklearn.VariationalAutoencoder, beta="a")),
    (
        "ppl_vae.sklearn.VariationalAutoencoder",
        "num_samples=0",
        lambda: sklearn.VariationalAutoencoder(2, epochs=1, num_samples=0).fit(ROWS).score_samples(ROWS),
    ),
    ("ppl_vae.sklearn.VariationalAutoencoder", "not fitted", lambda: sklearn.VariationalAutoencoder().transform(ROWS)),
    ("ppl_vae.sklearn.VariationalAutoencoder", "other columns", _fitted(lambda vae: vae.transform(ROWS[:, :2]))),
    (
        "ppl_vae.sklearn.VariationalAutoencoder",
        "codes of another width",
        _fitted(lambda vae: vae.inverse_transform(ROWS)),
    ),
    ("ppl_vae.sklearn.VariationalAutoencoder", "sample(0)", _fitted(lambda vae: vae.sample(0))),
    ("ppl_vae.sklearn.VariationalAutoencoder", "sample(1.5)", _fitted(lambda vae: vae.sample(1.5))),
    ("ppl_vae.sklearn.VariationalAutoencoder", "score of text", _fitted(lambda vae: vae.score_samples([["a"]]))),
]
"""Other calls."""


def _of(value: Any) -> Any:
    return value.make() if isinstance(value, Made) else value


BAD = [
    *changed_defaults(),
    *calls_that_do_not_fit(),
    *programs_and_data(),
    *bad_arrays(),
    *by_hand(),
    *(Bad(*each) for each in (*damaged_files(), *likelihoods_of_other_data())),
]
