"""Networks under any leading dimensions, contexts and image shapes."""

import inspect
import re
from functools import partial

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from ppl_vae import nets
from ppl_vae.nets.convolutions import channels_last

IMAGES = [(1, 8, 8), (1, 28, 20), (3, 32, 32), (2, 7, 5), (1, 1, 1)]
CONTEXTS = [(), ((3,),), ((3,), (2, 2))]
NETS = [net for net in map(nets.__dict__.get, nets.__all__) if not inspect.isabstract(net)]


def small(net, image):
    """The network from or to an image: (net, in_shape, out_shape)."""
    if net is nets.ConvEncoder:
        return partial(net, channels=(4, 6), hidden_dims=(8,)), image, (2, 5)
    if net is nets.ConvDecoder:
        return partial(net, channels=(6, 4), hidden_dims=(8,)), (4,), (2, *image)
    if net is nets.GatedConvEncoder:
        return partial(net, channels=(4, 6), hidden_dims=(8,)), image, (2, 5)
    if net is nets.GatedConvDecoder:
        return partial(net, channels=(6, 4)), (4,), (2, *image)
    if net is nets.ResNetEncoder:
        return partial(net, channels=4), image, (2, 5)
    if net is nets.ResNetDecoder:
        return partial(net, channels=4), (4,), (2, *image)
    steps = image[1:] if image[0] > 1 else image[1:2]  # (t, d), or (t,)
    if net is nets.Conv1dEncoder:
        return partial(net, channels=(4, 6), hidden_dims=(8,)), steps, (2, 5)
    if net is nets.DeepSet:
        return partial(net, hidden_dims=(8,), head_dims=(8,)), steps, (2, 5)
    if net is nets.GRUEncoder:
        return partial(net, hidden_dim=4), steps, (2, 5)
    if net is nets.Conv1dDecoder:
        return partial(net, channels=(6, 4), hidden_dims=(8,)), (4,), (2, *steps)
    if net is nets.GRUDecoder:
        return partial(net, hidden_dim=4), (4,), (2, *steps)
    return partial(net, hidden_dims=(8,)), image, (2, 5)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("image", IMAGES, ids=str)
@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_leading_dimensions_and_contexts(net, image, context):
    factory, in_shape, out_shape = small(net, image)
    module = factory(in_shape, out_shape, context=context)
    for leading in [(), (3,), (2, 3), (4, 2, 3)]:
        first, rest = torch.randn(*leading, *in_shape), [torch.randn(*leading, *c) for c in context]
        out = module(first, *rest)
        assert out.shape == (*leading, *out_shape)
        if leading:
            assert_close(module(first[0], *(c[0] for c in rest)), out[0], rtol=0, atol=1e-5)
    one = [torch.randn(3, *c) for c in context]
    first = torch.randn(2, 1, *in_shape)
    expected = (2, 3) if context else (2, 1)
    broadcast = module(first, *one)
    assert broadcast.shape == (*expected, *out_shape)
    spread = module(first.expand(*expected, *in_shape), *(c.expand(*expected, *c.shape[1:]) for c in one))
    assert_close(broadcast, spread, rtol=0, atol=1e-5)
    assert module(torch.randn(0, *in_shape), *(c[:0] for c in one)).shape == (0, *out_shape)


@pytest.mark.parametrize("net", NETS)
def test_every_parameter_is_used(net):
    factory, in_shape, out_shape = small(net, (2, 7, 5))
    module = factory(in_shape, out_shape, context=((3,),))
    module(torch.randn(6, *in_shape), torch.randn(6, 3)).square().sum().backward()
    assert all(p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("net", NETS)
def test_wrong_shapes(net):
    factory, in_shape, out_shape = small(net, (2, 8, 6))
    module = factory(in_shape, out_shape, context=((3,),))
    y = torch.randn(4, 3)
    for wrong in [(4, 5), (4, 2, 6, 8), (2, 4, 6, 5), (8, 2, 4, 6), (6,)]:
        ends = re.escape(str(in_shape))
        with pytest.raises(ValueError, match=rf"an input that ends in {ends}, got .*; build it with the shape of one"):
            module(torch.randn(wrong), y)
    with pytest.raises(ValueError, match=r"ends in \(3,\), got \(4, 2\)"):
        module(torch.randn(4, *in_shape), y[:, :2])
    with pytest.raises(ValueError, match=r"got 1 inputs; give model and guide every context"):
        module(torch.randn(4, *in_shape))


CONVOLUTIONS = [net for net in NETS if re.match("(Gated)?Conv[ED]|ResNet", net.__name__)]


@pytest.mark.parametrize("net", CONVOLUTIONS)
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_the_order_in_memory_changes_nothing(net, image, monkeypatch):
    torch.manual_seed(0)
    factory, in_shape, out_shape = small(net, image)
    module, first = factory(in_shape, out_shape).double(), torch.randn(3, *in_shape, dtype=torch.float64)
    found = with_gradients(module, first)
    with monkeypatch.context() as patched:
        for file in ("convolutions", "gated", "images", "residual"):
            patched.setattr(f"ppl_vae.nets.{file}.channels_last", lambda h: h)
        expected = with_gradients(module, first)
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert_close(torch.vmap(module)(first[:, None])[:, 0], module(first), rtol=1e-9, atol=1e-12)


def with_gradients(module, first):
    """The output of a network, and the gradient of the sum of its squares to what it depends on."""
    leaf = first.clone().requires_grad_()
    out = module(leaf)
    return [out, *torch.autograd.grad(out.square().sum(), [leaf, *module.parameters()])]


def test_convolutions_keep_the_channels_of_a_pixel_side_by_side():
    for depth in (1, 3):
        h = channels_last(torch.randn(4, depth, 6, 5))
        assert nets.ConvEncoder((depth, 6, 5), (2,)).convolutions(h).stride()[1] == 1


def test_settings():
    for activation in ("relu", "elu", "gelu", "silu", "softplus", "tanh"):
        assert nets.MLP((3,), (2,), activation=activation)(torch.randn(3)).shape == (2,)
    with pytest.raises(ValueError, match=r"activation to be 'relu' or 'elu'.*got 'swish'; the default"):
        nets.MLP((3,), (2,), activation="swish")
    with pytest.raises(ValueError, match=r"ConvEncoder expects in_shape to end in.*got \(64,\); reshape the data"):
        nets.ConvEncoder((64,), (2,))
    with pytest.raises(ValueError, match="ConvDecoder expects out_shape"):
        nets.ConvDecoder((2,), (64,))
    assert nets.MLP((3,), (2,), hidden_dims=())(torch.randn(4, 3)).shape == (4, 2)
    assert nets.ConvEncoder((1, 5, 5), (2,), channels=())(torch.randn(4, 1, 5, 5)).shape == (4, 2)


def operations(size, net):
    """Multiplications and additions of a pass over pictures of a size."""
    made, x = net(size)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        made(x)
    return counted.get_total_flops()


RESIDUAL = {
    "encoder": lambda n: (nets.ResNetEncoder((3, n, n), (2, 8)), torch.zeros(1, 3, n, n)),
    "decoder": lambda n: (nets.ResNetDecoder((8,), (1, 3, n, n)), torch.zeros(1, 8)),
}


@pytest.mark.parametrize("name", RESIDUAL)
def test_the_cost_of_residual_networks_follows_the_pixels(name):
    assert 3.5 < operations(128, RESIDUAL[name]) / operations(64, RESIDUAL[name]) < 4.1
    few, many = (sum(p.numel() for p in RESIDUAL[name](n)[0].parameters()) for n in (64, 128))
    assert many < 1.5 * few


CONVOLUTIONAL = {
    "encoder": lambda n: (nets.ConvEncoder((3, n, n), (2, 8)), torch.zeros(1, 3, n, n)),
    "decoder": lambda n: (nets.ConvDecoder((8,), (1, 3, n, n)), torch.zeros(1, 8)),
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_cost_of_convolutional_networks_follows_the_pixels(name):
    """But that of their dense layers, which is the same at all sizes."""
    assert 2.5 < operations(128, CONVOLUTIONAL[name]) / operations(64, CONVOLUTIONAL[name]) < 4.1
    few, many = (sum(p.numel() for p in CONVOLUTIONAL[name](n)[0].parameters()) for n in (64, 128))
    assert many < 1.1 * few
    of_digits = nets.ConvEncoder((1, 28, 28), (2, 8), channels=(32, 64))
    assert {k: v.shape for k, v in nets.ConvEncoder((1, 28, 28), (2, 8)).state_dict().items()} == {
        k: v.shape for k, v in of_digits.state_dict().items()
    }


@pytest.mark.parametrize("size", [28, 32, 64, 96, 128])
@pytest.mark.parametrize("blocks", [0, 1, 12])
def test_residual_networks_start_with_numbers_of_one_scale(size, blocks):
    torch.manual_seed(0)
    encoder = nets.ResNetEncoder((1, size, size), (2, 8), channels=8, blocks=blocks)
    decoder = nets.ResNetDecoder((8,), (1, 1, size, size), channels=8, blocks=blocks)
    z = encoder(torch.randn(2, 1, size, size))[..., 0, :]
    x = decoder(torch.randn(2, 8))
    assert 1e-3 < z.std() < 10
    assert 1e-3 < x.std() < 10
    (x.square().sum() + z.square().sum()).backward()
    assert all(p.grad.isfinite().all() for net in (encoder, decoder) for p in net.parameters())


@pytest.mark.parametrize("size", [28, 32, 64, 96, 128])
def test_gated_convolutions_start_with_numbers_of_one_scale(size):
    torch.manual_seed(0)
    encoder = nets.GatedConvEncoder((1, size, size), (2, 8), channels=(8,) * (size // 8).bit_length())
    decoder = nets.GatedConvDecoder((8,), (1, 1, size, size), channels=(8,) * (size // 8).bit_length())
    features = encoder.layers(torch.randn(4, 1, size, size))
    assert 0.5 ** (len(encoder.layers) / 2) / 2 < features.std() < 2
    x = decoder(torch.randn(4, 8))
    assert 1e-3 < x.std() < 10
    (x.square().sum() + encoder(torch.randn(2, 1, size, size)).square().sum()).backward()
    assert all(p.grad.isfinite().all() for net in (encoder, decoder) for p in net.parameters())


def test_gated_convolutions_of_digits_are_those_of_van_den_berg():
    """Shapes of weights as published (arXiv:1803.05649): a convolution of 7 x 7 pixels there is a dense layer here."""
    encoder, decoder = nets.GatedConvEncoder((1, 28, 28), (2, 64)), nets.GatedConvDecoder((64,), (1, 1, 28, 28))
    convolutions = [tuple(p.shape[:2]) for p in encoder.layers.parameters() if p.dim() == 4]
    assert convolutions == [(64, 1), (64, 32), (128, 32), (128, 64), (128, 64)]
    assert encoder.head.layers[0].weight.shape == (2 * 256, 64 * 7 * 7)
    assert decoder.stem.layers[0].weight.shape == (2 * 64 * 7 * 7, 64)
    convolutions = [
        p.shape[0] // 2 for p in [*decoder.before.parameters(), *decoder.last[0].parameters()] if p.dim() == 4
    ]
    assert convolutions == [64, 32, 32]
    assert [layer[0].weight.shape for layer in decoder.up] == [(64, 64, 5, 5), (32, 64, 5, 5)]


def test_residual_decoders_are_given_z_at_every_size():
    decoder = nets.ResNetDecoder((8,), (1, 1, 64, 64), channels=8, blocks=0)
    assert len(decoder.skips) == 2
    for kept in decoder.skips:
        with torch.no_grad():
            for part in (decoder.stem, *decoder.skips):
                part.weight.zero_()
            kept.weight.fill_(1.0)
        assert decoder(torch.ones(1, 8)).sub(decoder(torch.zeros(1, 8))).any()


def test_sets_have_no_order_and_leave_out_what_is_missing():
    torch.manual_seed(0)
    net = nets.DeepSet((12, 3), (2,), masked=True)
    x, missing = torch.randn(6, 3), torch.zeros(6, 3)
    missing[4:], missing[3, 0] = 1.0, 1.0
    given = net(torch.cat([x, missing]))
    order = torch.randperm(6)
    assert_close(net(torch.cat([x[order], missing[order]])), given, rtol=0, atol=1e-5)
    other = x.clone()
    other[4:] = 9.0
    assert torch.equal(net(torch.cat([other, missing])), given)
    other[3] = 9.0
    assert not torch.equal(net(torch.cat([other, missing])), given)
    with pytest.raises(
        ValueError, match=r"DeepSet expects in_shape to be \(t,\) or \(t, d\), got \(2, 3, 4\); .*elements"
    ):
        nets.DeepSet((2, 3, 4), (2,))
