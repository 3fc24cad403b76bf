"""Conditions in words."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from ppl_vae import data
from ppl_vae.data.conditioned import classes_of, conditions_told
from ppl_vae.split import Split


def test_columns_are_told_in_their_units():
    n = np.arange(60)
    frame = pd.DataFrame({"x": n % 7 + 0.5, "smoker": np.where(n % 2, "yes", "no"), "dose": 2.5 + n, "temp": n - 30.5})
    frame["seen"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(n, "D")
    test = data.from_frame(frame, context=["smoker", "dose", "temp", "seen"], seed=0).test
    for index, said in zip(test.index.tolist(), conditions_told(test), strict=True):
        row = frame.iloc[index]
        day = row.seen.date()
        assert said == f"smoker {row.smoker}, dose {row.dose:.3g}, temp {row.temp:.3g}, seen {day}"
    assert classes_of(test) is None
    assert classes_of(test, 0) == ["no", "yes"]


def test_labels_are_told_by_name_or_number():
    labelled = data.from_arrays(torch.rand(30, 4), ["cat", "dog", "fox"] * 10).condition_on_labels().test
    names = [labelled.classes[int(y)] for y in labelled.y]
    assert conditions_told(labelled) == names
    unnamed = replace(labelled, classes=None)
    assert conditions_told(unnamed) == [str(int(y)) for y in labelled.y]
    assert classes_of(unnamed) == ["0", "1", "2"]


def test_other_numbers_are_told_in_short():
    context = (torch.tensor([[1.0, 2, 3, 4], [0.12345, 0, 0, 0]]), torch.tensor([[0.5], [0.0]]))
    split = Split(torch.zeros(2, 3), torch.arange(2), context=context)
    assert conditions_told(split) == ["1, 2, 3, ..., 0.5", "0.123, 0, 0, ..., 0"]
    assert classes_of(split) is None
    assert conditions_told(Split(torch.zeros(2, 3), torch.arange(2))) == []
