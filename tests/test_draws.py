import pytest
import torch
from small_models import CASES

from ppl_vae import Gaussian, Poisson, build, data, distributions, draws, evaluate
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.split import Split


def drawn(case, num_samples=7):
    split = Split(
        case.x, torch.arange(len(case.x)), context=case.context, mask=None if case.mask is True else case.mask
    )
    with diagnosing(case.program, split, seed=0) as (split, _):
        return [d for _, d in draws.draws(case.program, split, num_samples)]


@pytest.mark.parametrize("case", CASES)
def test_blocks_change_nothing(case, monkeypatch):
    made = case()
    sizes, whole = [], drawn(made)
    replayed = draws._score_some
    monkeypatch.setattr(draws, "_score_some", lambda *args: sizes.append(args[3]) or replayed(*args))
    monkeypatch.setattr(draws, "CACHED", 1)  # one draw at a time
    blocks = drawn(made)
    assert sizes == [1] * 7
    for one, other in zip(whole, blocks, strict=True):
        torch.testing.assert_close(one.log_weights, other.log_weights, rtol=1e-10, atol=1e-10)
        assert all(torch.equal(one.z[name], other.z[name]) for name in one.z)


@pytest.mark.parametrize(("likelihood", "summed"), [(Gaussian, True), (Poisson, False)])
def test_scores_sum_a_normal_in_one_pass(likelihood, summed, monkeypatch):
    calls, once = [], distributions.Normal.log_prob_sum
    monkeypatch.setattr(distributions.Normal, "log_prob_sum", lambda *args: calls.append(args) or once(*args))
    x = torch.arange(24).reshape(6, 4)
    given = data.from_arrays(x if likelihood is Poisson else x.float(), seed=0)
    evaluate(build(given, latent_dim=2, likelihood=likelihood, seed=0), given.train, num_samples=30, progress=False)
    assert bool(calls) == summed
