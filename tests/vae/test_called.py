"""A VAE called as a module, its methods under torch.func and on arrays and frames, and what any program gives."""

from functools import partial

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from small_models import SMALL, ppca
from torch.func import functional_call, grad, jacrev, vmap
from torch.testing import assert_close

from ppl_vae import DataSpec, Domain, Masking, Program, build

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def vae(**more):
    return build(DataSpec((6,), Domain("real")), latent_dim=2, encoder=SMALL, decoder=SMALL, seed=0, **more).to(X)


def test_a_call_reconstructs_with_gradients():
    made = vae(corruption=Masking)
    torch.manual_seed(5)
    found = made(X)
    assert_close(found.detach(), made.eval().reconstruct(X, seed=5))
    found.sum().backward()
    assert made.posterior.net.layers[0].weight.grad.abs().sum() > 0
    assert not [name for name in pyro.get_param_store() if "vae" in name]


def test_other_weights_in_a_call():
    made, other = vae(), vae()
    weights = {name: 2 * p.detach() for name, p in made.named_parameters()}
    other.load_state_dict({**other.state_dict(), **weights})
    torch.manual_seed(0)
    found = functional_call(made, weights, (X,))
    torch.manual_seed(0)
    assert_close(found, other(X))


def test_each_datum_by_itself_under_vmap():
    """As without vmap, and gradients as by a loop; also of data with missing values, and of latents."""
    made = vae()

    def code(x):
        return made.encode(x[None]).mean[0]

    def spread(x, seen):
        return made.encode(x[None], mask=seen[None]).stddev.sum()

    assert_close(vmap(code)(X), made.encode(X).mean)
    assert_close(vmap(jacrev(code))(X), torch.stack([jacrev(code)(x) for x in X]))
    seen = X > -1
    assert_close(vmap(grad(spread))(X, seen), torch.stack([grad(spread)(x, m) for x, m in zip(X, seen, strict=True)]))
    z = torch.randn(3, 2)
    assert_close(vmap(lambda z: made.decode(z).mean)(z), made.decode(z).mean)
    with pytest.raises(ValueError, match="data expect finite values"):
        made.encode(X.log())


def test_arrays_and_frames():
    made = vae()
    expected = made.encode(X).mean
    names = list("abcdef")
    for values in (X.numpy(), X.double().numpy().astype(np.float32), pd.DataFrame(X.numpy(), columns=names)):
        assert_close(made.encode(values).mean, expected)
        assert made(values).shape == (4, 6)
    z = expected.detach()
    for codes in (z.numpy(), pd.DataFrame(z.numpy()), z.tolist()):
        assert_close(made.decode(codes).mean, made.decode(z).mean)


def linear_program():
    """Probabilistic PCA as two plain functions, and the VAE it is."""
    known = ppca(n=50)
    scale = known.vae.likelihood.given(torch.zeros(1, 2).double()).stddev[0, 0].item()
    root = torch.linalg.cholesky(known.covariance)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ known.weight.T, scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(known.vae.encode(x).mean, scale_tril=root))

    return known, Program(model, guide), scale


def test_a_program_samples_encodes_and_decodes():
    known, program, scale = linear_program()
    z = torch.randn(7, 2).double()
    assert_close(program.encode(known.x).mean, known.mean)
    assert_close(program.encode(known.x.numpy()).covariance_matrix[0], known.covariance)
    p = program.decode(z, like=known.x)
    assert_close(p.mean, z @ known.weight.T)
    assert_close(p.stddev, torch.full((7, 5), scale).double())
    x = program.sample(20_000, like=known.x, seed=0)
    exact = known.weight @ known.weight.T + scale**2 * torch.eye(5).double()
    error = 4 * ((exact.diagonal()[:, None] * exact.diagonal() + exact**2) / 20_000).sqrt()  # of a covariance, 4 SE
    assert ((x.T.cov() - exact).abs() < error).all()
    assert torch.equal(x, program.sample(20_000, like=known.x, seed=0))
    assert program.sample(3, like=known.x, mean=True).shape == (3, 5)


def test_what_a_program_does_not_give():
    def model(x, total=False):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            w = pyro.sample("w", dist.Normal(z, 1.0))
            pyro.sample("x", dist.Normal(w + (x.abs() if total else 0), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))
            pyro.sample("w", dist.Normal(x, 1.0))

    x, z = torch.tensor([1.0, 2.0, 3.0]), torch.zeros(2)
    program = Program(model, guide)
    with pytest.raises(TypeError, match="expects a guide with one latent site"):
        program.encode(x)
    assert program.decode({"z": z, "w": z + 1}, like=x).mean.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="give a dict by name"):
        program.decode(z, like=x)
    with pytest.raises(ValueError, match=r"expects w of shape \(2,\)"):
        program.decode({"z": z, "w": z[:1]}, like=x)
    with pytest.raises(ValueError, match="expects two different data"):
        program.decode({"z": z, "w": z}, like=x[:1])
    with pytest.raises(ValueError, match="depends on z alone"):
        Program(partial(model, total=True), guide).decode({"z": z, "w": z}, like=x)
