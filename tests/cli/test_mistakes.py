"""Values that an option does not take are answered with those it takes, the nearest first."""

import pytest

from ppl_vae.cli import main
from ppl_vae.manifold import methods
from ppl_vae.manifold.methods import NAMES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("export run --format onx", "export: --format expects pt2 or onnx, got 'onx'; did you mean onnx?"),
        ("export run --part enc", "--part expects encoder or decoder, got 'enc'; did you mean encoder?"),
        ("completion fish", "completion: shell expects bash or zsh, got 'fish'; choose one of these"),
        ("train --context-to prior deco", "expects prior, encoder or decoder, got 'deco'; did you mean decoder?"),
        ("train --compile aut", "--compile expects auto, true or false, got 'aut'; did you mean auto?"),
        ("train --binarize stat", "expects static, dynamic or threshold, got 'stat'; did you mean static?"),
        ("train --precision bf61", "--precision expects bf16, got 'bf61'; did you mean bf16?"),
        ("evaluate run --method adaptve", "expects importance or adaptive, got 'adaptve'; did you mean adaptive?"),
        ("report run --split tets", "expects train, validation or test, got 'tets'; did you mean test?"),
        ("manifold --methods PCA tsne", "VAE or BetaVAE, got 'tsne'; did you mean t-SNE?"),
        ("train --encoder.activation rellu", "silu, softplus or tanh, got 'rellu'; did you mean relu?"),
        (
            "train --likelihood Laplace --likelihood.scale x",
            "a number, learned, elementwise or decoder, got 'x'; choose",
        ),
        ("train --take x", "--take expects a whole number (only so many data of each split), got 'x'; give another"),
        ("train --latent-dim x", "--latent-dim expects a whole number or a list like [64, 32] (dimension of z;"),
        ("train --size 3 x", "--size expects a whole number above 0 (height and width to crop"),
        ("train --refined-steps 0", "(gradient steps of q for each datum: Refined), got '0'; give another value"),
    ],
)
def test_a_wrong_value_is_answered_with_those_it_takes(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Literal" not in said
    assert len(said.splitlines()) == 1


def test_the_names_of_the_methods():
    assert tuple(methods()) == NAMES
