import json

import numpy as np
import pytest

from ppl_vae import Multinomial, build
from ppl_vae.cli.main import main
from ppl_vae.data import again, load
from ppl_vae.rows import SparseRows, dense

TRAIN = "3 2:1 7:12 1:4\n\n10 5:3 # a comment\n3\n-1 1:1 2:2 3:3\n" * 5


def carry_out(*words):
    assert main(list(words)) == 0


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train.feat").write_text(TRAIN)
    (tmp_path / "test.feat").write_text("3 2:5\n10 9:1 1:2\n")
    return tmp_path


def test_documents_are_counts_kept_sparse(files):
    data = load(files / "train.feat", test=files / "test.feat")
    assert isinstance(data.train.x, SparseRows)
    assert data.x_shape == (9,)  # the test data have a word that the training data do not
    assert data.domain.kind == "counts"
    assert data.classes == ("-1", "3", "10")
    assert dense(data.test.x).tolist() == [[0, 5, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0, 1]]
    rows = {tuple(row) for split in (data.train, data.validation) for row in dense(split.x).int().tolist()}
    assert rows == {(4, 1, 0, 0, 0, 0, 12, 0, 0), (0, 0, 0, 0, 3, 0, 0, 0, 0), (0,) * 9, (1, 2, 3, 0, 0, 0, 0, 0, 0)}
    empty = [i for i, row in enumerate(dense(data.train.x)) if not row.any()]
    assert {data.classes[data.train.y[i]] for i in empty} == {"3"}
    assert again(json.loads(json.dumps(data.provenance))).checksum == data.checksum


def test_files_without_labels_and_with_words_for_labels(tmp_path):
    (tmp_path / "plain.svm").write_text("1:2\n3:1 2:1\n" * 10)
    assert load(tmp_path / "plain.svm").classes is None
    (tmp_path / "named.libsvm").write_text("sport 1:2\nwar 3:1.5 2:1\n" * 10)
    named = load(tmp_path / "named.libsvm")
    assert named.classes == ("sport", "war")
    assert named.domain.kind == "real"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2:1 2:3\n", "a word twice in line 1"),
        ("1 0:1\n", "word 0 in line 1, where words are numbered from 1"),
        ("1 2:1\n1 3\n", "'3' in line 2"),
        ("1 a:1\n", "invalid literal"),
        ("1 2:x\n", "could not convert"),
        ("1 2:1\n3:4\n", "a label in every line or in none, got ValueError: 1 labels for 2 documents"),
        ("", "at least one datum"),
    ],
)
def test_files_that_are_refused(tmp_path, text, message):
    (tmp_path / "x.feat").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "x.feat")


def test_new_documents_on_the_command_line(files, monkeypatch, capsys):
    """New documents that lack the last words of the training data have as many columns."""
    monkeypatch.chdir(files)
    carry_out("train", "--data", "train.feat", "--likelihood", "Multinomial", "--run", "run", "--epochs", "1")
    (files / "new.feat").write_text("3 2:5\n10 1:2\n")
    carry_out("encode", "run", "new.feat", "--out", "codes.npz")
    assert np.load("codes.npz")["z"].shape[0] == 2
    carry_out("score", "run", "new.feat", "--out", "scores.npz")
    assert np.isfinite(np.load("scores.npz")["log_px"]).all()
    assert main(["encode", "run", "new.feat", "--out", "codes.feat"]) == 1
    assert "--out expects a file that ends in .npz, for new data in new.feat" in capsys.readouterr().err
    carry_out("sample", "run", "--num", "4", "--total", "50", "--out", "made.npz")
    assert np.load("made.npz")["x"].sum(1).tolist() == [50] * 4


def test_documents_build_a_topic_model(files):
    data = load(files / "train.feat")
    vae = build(data, latent_dim=2, likelihood=Multinomial, seed=0)
    assert vae.sample(3, seed=0).sum(1).tolist() == [float(dense(data.train.x).sum(1).median())] * 3
