"""Progress bars say what they are of."""

import io
from contextlib import redirect_stderr

import ppl_vae
from ppl_vae import diagnostics
from ppl_vae.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_named():
    digits = ppl_vae.data.load("digits").binarize("threshold")
    vae = ppl_vae.build(digits, latent_dim=2, seed=0)
    with redirect_stderr(Terminal()) as terminal:
        ppl_vae.evaluate(vae, digits.test[:9], num_samples=30, seed=0)
        diagnostics.active_units(vae, digits.test[:9], seed=0)
    for name in ("log p(x) by q", "active units"):
        assert f"\r{name}:   0%" in terminal.getvalue()


def test_a_bar_that_is_not_shown_prints_nothing():
    with redirect_stderr(Terminal()) as terminal, progress_bar("nothing", 3, shown=False) as bar:
        bar.update()
    assert terminal.getvalue() == ""
