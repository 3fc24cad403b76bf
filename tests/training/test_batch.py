"""What a loader may give: tuples, mappings, batches; and data sets of torch."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ppl_vae import Batch, DataSpec, Domain, build, fit
from ppl_vae.training.batch import as_batch


class Named(Dataset):
    """Items that are mappings, as many libraries give them."""

    def __init__(self, *names):
        self.x = torch.sin(torch.arange(40.0)).reshape(20, 2)
        self.names = names

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        all_of_them = {"x": self.x[i], "mask": self.x[i] > -0.5, "context": self.x[i, :1], "label": i, "y": i}
        return {name: all_of_them[name] for name in self.names}


def vae(context=()):
    return build(DataSpec((2,), Domain("real"), context), latent_dim=1, seed=0)


def elbo(data, context=(), **arguments):
    return fit(vae(context), data, epochs=1, seed=0, progress=False, **arguments).history["train_elbo"].item()


def test_batches_that_are_mappings():
    named, x = Named("x", "context", "mask"), Named("x").x
    loaded = list(DataLoader(named, 20))  # a loader itself draws a random number
    assert elbo(loaded, ((1,),)) == elbo([Batch(x, (x[:, :1],), x > -0.5)], ((1,),))
    for names in (("x",), ("x", "y")):  # labels are left out
        assert elbo(list(DataLoader(Named(*names), 20))) == elbo([x])
    batch = as_batch({"x": x.numpy(), "context": (x[:, 0], x[:, 1])})
    assert len(batch.context) == 2
    assert batch.mask is True


def test_a_data_set_of_torch_is_shuffled_and_cut_into_batches():
    named = Named("x")
    found = elbo(named, batch_size=5, validation=named)
    assert found == elbo(named, batch_size=5, validation=named)
    assert found == elbo(DataLoader(named, 5, shuffle=True), validation=DataLoader(named, 1000))


@pytest.mark.parametrize(("names", "came"), [(("x", "label"), "x, label"), (("mask",), "mask")])
def test_other_mappings_are_refused(names, came):
    with pytest.raises(
        TypeError, match=f"mappings to have x, and context, mask or labels y beside it, got {came}; rename"
    ):
        elbo(DataLoader(Named(*names), 20))


def test_a_mapping_of_all_data_is_no_iterable_of_batches():
    x = Named("x").x
    for arguments in ({"data": {"x": x, "y": x[:, 0]}}, {"data": x, "validation": {"x": x, "y": x[:, 0]}}):
        with pytest.raises(TypeError, match=r"got dict of x, y, which is neither; give x itself, data\['x'\]"):
            elbo(**arguments)
