"""Every logger writes the same training, and its own library reads it back."""

import json
import math
import struct
import sys
import warnings

import pandas as pd
import pytest
from small_models import SMALL

from ppl_vae import build, data, evaluate, fit
from ppl_vae.callbacks import CSV, Logger, MLflow, TensorBoard, WandB
from ppl_vae.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries themselves


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A training of two epochs that all of them wrote, and what it was."""
    root = tmp_path_factory.mktemp("logs")
    digits = data.load("digits").binarize("threshold").take(train=40, validation=20, test=10)
    vae = build(digits, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)
    drawn = {"figures": digits.validation, "every": 2}
    logs = {
        "csv": CSV(root / "csv", **drawn),
        "tensorboard": TensorBoard(root / "tensorboard", **drawn),
        "mlflow": MLflow(f"sqlite:///{root}/mlflow.db", "digits", artifacts=str(root / "artifacts"), **drawn),
        "wandb": WandB(folder=root / "wandb", **drawn),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, at import
        fitted = fit(vae, digits, epochs=2, callbacks=list(logs.values()), progress=False, seed=3)
        result = evaluate(vae, digits.test, num_samples=30, progress=False)
        for log in logs.values():
            log.result(result)
            log.close()
    return root, fitted.history, result, logs


def same(found, history, result):
    """Numbers by name, each a list of an epoch and a value, are those of the training and the evaluation."""
    for name in history:
        for epoch, value in history[name].items():
            assert found[name][epoch] == pytest.approx(value, rel=1e-6), name
    nll, se = result.summary.loc["nll"]
    assert found["test_nll"][2] == pytest.approx(nll, rel=1e-6)
    assert found["test_nll_se"][2] == pytest.approx(se, rel=1e-6)


def test_csv(written):
    root, history, result, _ = written
    table = pd.read_csv(root / "csv" / "metrics.csv", index_col="epoch")
    same(table.to_dict(), history, result)
    assert math.isnan(table.test_nll[1])
    settings = json.loads((root / "csv" / "settings.json").read_text())
    assert settings["fit"]["epochs"] == 2
    assert settings["fit"]["seed"] == 3
    assert settings["recipe"]["latent_dim"] == 2
    assert (root / "csv" / "verdict.md").read_text() == str(result)
    assert (root / "csv" / "reconstructions-000002.png").stat().st_size > 1000


def test_tensorboard(written):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root, history, result, _ = written
    events = EventAccumulator(str(root / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    same({n: {e.step: e.value for e in events.Scalars(n)} for n in tags["scalars"]}, history, result)
    assert tags["images"] == ["reconstructions"]
    text = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| fit.seed | 3 |" in text
    assert events.Tensors("verdict/text_summary")[0].tensor_proto.string_val[0].decode() == str(result)


def test_mlflow(written):
    root, history, result, logs = written
    client, run_id = logs["mlflow"].client, logs["mlflow"].run_id
    run = client.get_run(run_id)
    found = {n: {m.step: m.value for m in client.get_metric_history(run_id, n)} for n in run.data.metrics}
    same(found, history, result)
    assert run.data.params["fit.seed"] == "3"
    assert run.info.status == "FINISHED"
    (folder,) = (root / "artifacts").glob("*/artifacts")
    assert (folder / "verdict.md").read_text() == str(result)
    assert (folder / "reconstructions" / "000002.png").is_file()


def records_of(stored):
    """The records of a file in the log format of LevelDB, whose blocks of 32 KiB have parts (crc, length, kind)."""
    at, record = 7, b""  # after the file's own header
    while at + 7 <= len(stored):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        length, kind = struct.unpack("<HB", stored[at + 4 : at + 7])
        record += stored[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_wandb(written):
    import wandb
    from wandb.proto import wandb_internal_pb2 as proto

    wandb.teardown()  # its own process may still be writing
    root, history, result, _ = written
    (file,) = (root / "wandb" / "wandb").glob("offline-run-*/*.wandb")
    records = [proto.Record.FromString(content) for content in records_of(file.read_bytes())]
    found: dict = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
            for name, value in row.items():
                found.setdefault(name, {})[row["_step"]] = value
    same(found, history, result)
    assert "reconstructions" in found
    said = str(records)
    assert "verdict" in said
    assert '\\"seed\\": 3' in said or '"seed":3' in said.replace(" ", "").replace("\\", "")
    assert list((root / "wandb" / "wandb").glob("offline-run-*/files/media/images/*.png"))


class Lines(Logger):
    """One of one's own."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def settings(self, values):
        self.lines.append(values["fit"]["epochs"])

    def scalars(self, values, epoch):
        self.lines.append(epoch)

    def figure(self, name, figure, epoch):
        raise AssertionError("no data to draw")

    def text(self, name, text):
        raise AssertionError("no result")


def test_a_resumed_training_is_written_whole(tmp_path):
    digits = data.load("digits").binarize("threshold").take(train=40, validation=20, test=10)
    for epochs, expected in ((1, [1, 1]), (3, [3, 1, 2, 3])):
        log = Lines()
        vae = build(digits, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)
        fit(vae, digits, epochs=epochs, callbacks=[log], progress=False, run=tmp_path / "run", resume=True)
        assert log.lines == expected


@pytest.mark.parametrize("logger", [CSV, TensorBoard, lambda place: MLflow(f"sqlite:///{place}/x.db"), WandB])
def test_what_has_not_begun_leaves_nothing(logger, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger(str(tmp_path / "logs")).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("logger", "module"), [(TensorBoard, "torch.utils.tensorboard"), (MLflow, "mlflow"), (WandB, "wandb")]
)
def test_without_the_library(logger, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'ppl_vae\[{logger.__name__.lower()}\]'"):
        logger("somewhere")


def test_on_the_command_line(tmp_path):
    tiny = ["--data", "digits", "--take", "30", "--epochs", "1", "--latent-dim", "2", "--device", "cpu"]
    logs = ["--log", "csv", f"tensorboard:{tmp_path / 'board'}"]
    assert main(["train", *tiny, "--run", str(tmp_path / "run"), *logs]) == 0
    assert list(pd.read_csv(tmp_path / "run" / "metrics" / "metrics.csv").epoch) == [1]
    assert list((tmp_path / "board").glob("events.*"))


@pytest.mark.parametrize("logger", [CSV, TensorBoard])
def test_a_folder_that_is_a_file_is_refused_before_the_training(tmp_path, logger):
    (tmp_path / "metrics").write_text("mine")
    with pytest.raises(ValueError, match=f"{logger.__name__} expects a folder, got the file .*; give another name"):
        logger(tmp_path / "metrics")
