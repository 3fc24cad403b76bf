"""A run goes to the hub and comes back: on a server of this machine, and in a folder."""

import base64
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
import torch
from small_models import SMALL

from ppl_vae import build, data, evaluate, fit, load

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of data of one's own, evaluated, with a verdict."""
    root = tmp_path_factory.mktemp("somewhere_private")
    np.save(root / "rows.npy", np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32))
    rows = data.load(root / "rows.npy").standardize()
    vae = build(rows, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)
    fit(vae, rows, epochs=2, run=root / "run", progress=False)
    evaluate(vae, rows.test, num_samples=30, progress=False).save(root / "run" / "evaluation.json")
    (root / "run" / "diagnosis.md").write_text("# Diagnosis\n\n**Verdict.** q is within 0.10 nats.\n")
    return load(root / "run")


def same(found, run):
    assert found.vae.formula() == run.vae.formula()
    for a, b in zip(found.vae.parameters(), run.vae.parameters(), strict=True):
        assert torch.equal(a, b)
    assert found.history.equals(run.history)


def card_is_right(text, run):
    content = json.loads((run.path / "evaluation.json").read_text())
    nll = content["summary"]["nll"]
    assert "library_name: ppl_vae" in text
    assert run.vae.formula() in text
    assert run.config["data"][0]["checksum"] in text
    assert content["data"]["checksum"] in text
    assert f"{nll['mean']:.3f} ± {nll['se']:.3f} nats per datum" in text
    assert "**Verdict.** q is within 0.10 nats." in text


def test_a_folder(run, tmp_path):
    folder = run.bundle(tmp_path / "it")
    same(load(folder), run)
    card_is_right((folder / "README.md").read_text(), run)
    for file in folder.rglob("*"):
        assert not file.is_file() or b"somewhere_private" not in file.read_bytes(), file
    with pytest.raises(ValueError, match="expects an empty folder"):
        run.bundle(folder)


def test_a_run_without_numbers(tmp_path):
    rows = data.from_arrays(np.random.default_rng(0).normal(size=(60, 3)))
    vae = build(rows, latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0)
    fit(vae, rows, epochs=1, run=tmp_path / "run", progress=False)
    text = (load(tmp_path / "run").bundle(tmp_path / "it") / "README.md").read_text()
    assert "NLL: not evaluated" in text
    assert "was not diagnosed" in text


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload and a download ask for."""

    files: ClassVar[dict] = {}
    asked: ClassVar[list] = []

    def log_message(self, *_):
        pass

    def answer(self, content, kind="application/json", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(self.path)
        if self.path.endswith("/preupload/main"):
            names = [one["path"] for one in json.loads(sent)["files"]]
            self.answer({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, sent.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"http://{self.headers['Host']}/me/vae/commit/{SHA}", "commitOid": SHA})
        elif self.path == "/api/repos/create":
            self.made = json.loads(sent)
            self.answer({"url": f"http://{self.headers['Host']}/me/vae"})
        else:
            self.answer({})

    def do_GET(self):
        self.asked.append(self.path)
        if found := re.match(rf"/me/vae/resolve/{SHA}/(.+)", self.path):
            content = self.files[found[1]]
            self.answer(content, "application/octet-stream", ETag=f'"{hash(content):x}"', X_Repo_Commit=SHA)
        elif "/tree/" in self.path:
            self.answer([{"type": "file", "path": n, "size": len(c), "oid": n} for n, c in self.files.items()])
        elif self.path.startswith("/api/models/me/vae"):
            self.answer({"id": "me/vae", "sha": SHA, "siblings": [{"rfilename": n} for n in self.files]})
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub of this machine, empty, and an empty cache."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    monkeypatch.setattr(Hub, "files", {})
    monkeypatch.setattr(Hub, "asked", [])
    at = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", at)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", at + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore")
def test_the_hub(run, hub):
    address = run.push("me/vae", token="hf_none")
    assert address.endswith("/me/vae")
    card_is_right(hub.files["README.md"].decode(), run)
    assert 'ppl_vae.load("hub:me/vae")' in hub.files["README.md"].decode()
    hub.files["evil.py"] = hub.files["evil.pkl"] = b"raise SystemExit('executed')"
    found = load("hub:me/vae")
    same(found, run)
    assert not list(found.path.rglob("evil*"))
    assert not [path for path in hub.asked if "resolve" in path and "evil" in path]


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_there(run, hub, monkeypatch):
    with pytest.raises(FileNotFoundError, match="load expects hub:owner/name"):
        load("hub:me/other")
    with pytest.raises(ValueError, match="expects a repository as 'owner/name'"):
        run.push("vae")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'ppl_vae\[hub\]'"):
        load("hub:me/vae")
