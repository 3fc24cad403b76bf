"""Scores with products in bfloat16: their distance from float32 is in the result."""

import pytest
import torch

from ppl_vae import build, compare, data, evaluate, fit
from ppl_vae.evaluation import Evaluation

pytestmark = [pytest.mark.filterwarnings("ignore:precision='bf16' does not make:UserWarning"), pytest.mark.float32]
GIVEN = {"num_samples": 100, "seed": 0, "progress": False}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").binarize("threshold").take(train=200, validation=50, test=60)


@pytest.fixture(scope="module")
def vae(digits):
    made = build(digits, latent_dim=3, seed=0)
    fit(made, digits, epochs=10, seed=0, progress=False)
    return made


def test_the_distance_from_float32_is_that_of_two_evaluations(vae, digits):
    weights = [p.clone() for p in vae.parameters()]
    plain, rounded = evaluate(vae, digits.test, **GIVEN), evaluate(vae, digits.test, precision="bf16", **GIVEN)
    apart = (rounded.per_datum.log_px - plain.per_datum.log_px).to_numpy()
    assert 0 < abs(apart).max() < 0.2
    expected = {"mean": apart.mean(), "se": apart.std(ddof=1) / len(apart) ** 0.5, "largest": abs(apart).max()}
    assert rounded.rounded == {
        "products": "bfloat16",
        "compared": 60,
        **{k: pytest.approx(v) for k, v in expected.items()},
    }
    assert f"on 60 of the data log p(x) is higher than in float32 by {apart.mean():.4f} ± " in repr(rounded)
    assert plain.rounded is None
    assert "bfloat16" not in repr(plain)
    assert all(map(torch.equal, weights, vae.parameters()))


def test_of_many_data_a_hundred_are_compared_with_numbers_of_their_own(vae, digits):
    found = evaluate(vae, digits.train, precision="bf16", **GIVEN)
    assert found.rounded["compared"] == 100
    assert len(found.per_datum) == 200
    again = evaluate(vae, digits.train, precision="bf16", **GIVEN)
    assert found.rounded == again.rounded
    assert found.per_datum.equals(again.per_datum)


def test_it_is_stored(vae, digits, tmp_path):
    found = evaluate(vae, digits.test, precision="bf16", **GIVEN)
    found.save(tmp_path / "e.json")
    assert Evaluation.load(tmp_path / "e.json").rounded == found.rounded
    evaluate(vae, digits.test, **GIVEN).save(tmp_path / "plain.json")
    assert "rounded" not in (tmp_path / "plain.json").read_text()
    assert Evaluation.load(tmp_path / "plain.json").rounded is None


def test_what_is_not_for_it_is_refused(vae, digits):
    with pytest.raises(ValueError, match=r"expects method='importance', got 'adaptive'.*leave precision out"):
        evaluate(vae, digits.test, method="adaptive", precision="bf16", **GIVEN)
    double = build(digits, latent_dim=3, seed=0).double()
    with pytest.raises(ValueError, match=r"expects parameters in float32, got float64"):
        evaluate(double, digits.test, precision="bf16", **GIVEN)


def test_a_code_has_no_log_px_to_compare(digits):
    from ppl_vae.posteriors import Point

    made = build(digits, latent_dim=3, posterior=Point, seed=0)
    found = evaluate(made, digits.test, precision="bf16", **GIVEN)
    assert found.rounded == {"products": "bfloat16", "compared": 0}
    assert "products in bfloat16, not compared with those in float32" in repr(found)


def test_one_datum_has_no_error(vae, digits, tmp_path):
    found = evaluate(vae, digits.test[:1], precision="bf16", **GIVEN)
    found.save(tmp_path / "one.json")
    assert repr(Evaluation.load(tmp_path / "one.json")) == repr(found)
    assert "± nan nats; the largest" not in repr(found)


def test_a_comparison_says_that_precisions_differ(vae, digits):
    results = {name: evaluate(vae, digits.test, precision=name, **GIVEN) for name in ("bf16", None)}
    assert "Products of bf16 are in bfloat16" in compare({str(n): r for n, r in results.items()}).attrs["warning"]
    assert "bfloat16" not in compare({"a": results["bf16"], "b": results["bf16"]}).attrs["warning"]
