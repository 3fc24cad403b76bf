"""Progress bars say what they are of."""

from contextlib import redirect_stderr

import numpy as np

import ppl_vae
from ppl_vae import diagnostics
from ppl_vae.cli import main
from ppl_vae.progress import progress_bar


def test_a_bar_is_named(terminal):
    digits = ppl_vae.data.load("digits").binarize("threshold")
    vae = ppl_vae.build(digits, latent_dim=2, seed=0)
    with redirect_stderr(terminal):
        ppl_vae.evaluate(vae, digits.test[:9], num_samples=30, seed=0)
        diagnostics.active_units(vae, digits.test[:9], seed=0)
    for name in ("log p(x) by q", "active units"):
        assert f"\r{name}:   0%" in terminal.getvalue()


def test_bars_of_new_data_say_what_is_made_of_them(terminal, tmp_path):
    digits = ppl_vae.data.load("digits").binarize("threshold").take(20, 5, 5)
    ppl_vae.fit(ppl_vae.build(digits, latent_dim=2, seed=0), digits, epochs=1, run=tmp_path / "run", progress=False)
    np.save(tmp_path / "x.npy", digits.test.x.numpy())
    for command, what in (("encode", "codes"), ("reconstruct", "reconstructions")):
        words = [command, str(tmp_path / "run"), str(tmp_path / "x.npy"), "--out", str(tmp_path / "out.npy")]
        with redirect_stderr(terminal):
            assert main(words) == 0
        assert f"\r{what}:   0%" in terminal.getvalue()
    assert "scores" not in terminal.getvalue()


def test_a_bar_that_is_not_shown_prints_nothing(terminal):
    with redirect_stderr(terminal), progress_bar("nothing", 3, shown=False) as bar:
        bar.update()
    assert terminal.getvalue() == ""
