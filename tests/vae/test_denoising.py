"""Scores of restored images, and a denoising autoencoder that earns its name."""

import builtins
import sys
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import ppl_vae
from ppl_vae import MLP, Flat, Gaussian, Point, plots
from ppl_vae.corruptions import GaussianNoise
from ppl_vae.evaluation import image_quality

RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 1, 12, 9))
NOISY = IMAGES + RNG.normal(scale=[[[[0.01]]], [[[0.1]]], [[[0.5]]], [[[1.0]]]], size=IMAGES.shape)


def ssim(x, y, window, data_range):
    """Wang et al. (2004), eq. 13, with unbiased covariances, over windows that lie within the image."""
    wx, wy = (np.lib.stride_tricks.sliding_window_view(a, (window, window)).reshape(-1, window**2) for a in (x, y))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my, vx, vy = wx.mean(1), wy.mean(1), wx.var(1, ddof=1), wy.var(1, ddof=1)
    cov = ((wx - mx[:, None]) * (wy - my[:, None])).sum(1) / (window**2 - 1)
    return np.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))


class TestImageQuality:
    @pytest.mark.parametrize("data_range", [1.0, 255.0])
    def test_psnr_is_its_formula(self, data_range):
        found = image_quality(data_range * IMAGES, data_range * NOISY, data_range=data_range)
        mse = ((IMAGES - NOISY) ** 2).mean((1, 2, 3))
        np.testing.assert_allclose(found.psnr, 10 * np.log10(1 / mse), rtol=1e-12)
        assert found.index.name == "obs"

    @pytest.mark.parametrize(("size", "window"), [((12, 9), 7), ((8, 8), 7), ((6, 8), 5), ((3, 4), 3)])
    def test_ssim_is_its_formula_with_a_window_that_fits(self, size, window):
        x, y = (a[..., : size[0], : size[1]] for a in (IMAGES, NOISY))
        expected = [ssim(a[0], b[0], window, 2.0) for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(image_quality(x, y, data_range=2.0).ssim, expected, rtol=1e-9)

    def test_nothing_lost_is_infinite_psnr_and_ssim_one(self):
        found = image_quality(torch.as_tensor(IMAGES), IMAGES, data_range=1.0)
        assert np.isposinf(found.psnr).all()
        np.testing.assert_allclose(found.ssim, 1.0)

    def test_colour_is_the_mean_over_channels(self):
        x, y = (np.moveaxis(a[:3], 0, 1) for a in (IMAGES, NOISY))
        separate = [image_quality(x[:, [c]], y[:, [c]], data_range=1.0).ssim[0] for c in range(3)]
        np.testing.assert_allclose(image_quality(x, y, data_range=1.0).ssim[0], np.mean(separate))

    @pytest.mark.parametrize(
        ("x", "x_hat", "data_range", "message"),
        [
            (IMAGES, NOISY[:2], 1.0, r"of one shape.*got \(4, 1, 12, 9\) and \(2, 1, 12, 9\)"),
            (IMAGES[:, 0], NOISY[:, 0], 1.0, "with a channel axis"),
            (IMAGES[..., :2], NOISY[..., :2], 1.0, "at least 3 x 3 pixels"),
            (IMAGES[:0], NOISY[:0], 1.0, "of one shape"),
            (IMAGES, NOISY * np.nan, 1.0, "finite pixels"),
            (IMAGES, NOISY, 0.0, "data_range to be a number above 0, got 0.0"),
        ],
    )
    def test_refuses(self, x, x_hat, data_range, message):
        with pytest.raises(ValueError, match=message):
            image_quality(x, x_hat, data_range=data_range)

    def test_without_scikit_image_names_the_extra(self, monkeypatch):
        for name in [name for name in sys.modules if name.partition(".")[0] == "skimage"]:
            monkeypatch.delitem(sys.modules, name)
        real = builtins.__import__

        def without(name, *args, **kwargs):
            if name.partition(".")[0] == "skimage":
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(ImportError, match=r"cannot be imported .*pip install 'ppl_vae\[images\]'"):
            image_quality(IMAGES, NOISY, data_range=1.0)


class TestPlot:
    X = RNG.random((2, 3, 4, 1, 5, 6))

    def test_cells_hold_their_images_side_by_side(self):
        ax = plots.denoising(self.X, rows=["a", "b"], columns=["c", "d", "e"])
        assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
        assert [t.get_text() for t in ax.get_xticklabels()] == ["c", "d", "e"]
        shown = ax.get_images()[0].get_array().filled(np.nan)
        gap, width = shown.shape[0] - 10, 4 * 6 + 3
        assert shown.shape == (10 + gap, 3 * width + 2 * gap)
        middle = shown[5 + gap :, width + gap : 2 * width + gap]
        np.testing.assert_array_equal(np.delete(middle, [6, 13, 20], axis=1), np.hstack(self.X[1, 1, :, 0]))
        assert np.isnan(middle[:, [6, 13, 20]]).all()
        assert not ax.texts
        plt.close(ax.figure)

    def test_scores_stand_below_their_cells(self):
        psnr = np.array([[np.nan, 10.04, 20.0], [np.nan, 5.0, np.inf]])
        ax = plots.denoising(self.X, rows=["a", "b"], columns=["c", "d", "e"], psnr=psnr, ssim=np.full((2, 3), 0.5))
        written = {text.get_text(): text.get_position() for text in ax.texts}
        assert "10.0 dB, SSIM 0.50" in written
        assert written["20.0 dB, SSIM 0.50"][0] == ax.get_xticks()[2]
        assert ax.get_yticks()[0] < written["20.0 dB, SSIM 0.50"][1] < ax.get_yticks()[1]
        assert ax.get_yticks()[1] < written["5.0 dB, SSIM 0.50"][1] < ax.get_ylim()[0]
        plt.close(ax.figure)

    def test_refuses_names_and_scores_that_do_not_fit(self):
        with pytest.raises(ValueError, match="a name for each of 2 rows and 3 columns, got 1 and 3"):
            plots.denoising(self.X, rows=["a"], columns=["c", "d", "e"])
        with pytest.raises(ValueError, match=r"psnr expects shape \(2, 3\), got \(3,\)"):
            plots.denoising(self.X, rows=["a", "b"], columns=["c", "d", "e"], psnr=[1.0, 2.0, 3.0])


def test_denoising_autoencoder_restores_what_pca_cannot():
    """Images of one bright pixel: a curved set, of full rank. The autoencoder is 6 dB better than PCA of any rank."""
    x = torch.eye(16).repeat(60, 1).reshape(-1, 1, 4, 4)
    data = ppl_vae.data.from_arrays(x, domain=ppl_vae.Domain("unit"))
    net = partial(MLP, hidden_dims=(64,))
    vae = ppl_vae.build(
        data,
        latent_dim=8,
        prior=Flat,
        posterior=Point,
        likelihood=partial(Gaussian, scale=0.1),
        encoder=net,
        decoder=net,
        corruption=partial(GaussianNoise, scale=0.25),
        seed=0,
    )
    ppl_vae.fit(vae, data.train, epochs=40, batch_size=128, schedule=ppl_vae.OneCycle(peak=2e-2), seed=0, device="cpu")
    noisy = data.test.x + 0.25 * torch.randn(data.test.x.shape, generator=torch.Generator().manual_seed(1))
    restored = image_quality(data.test.x, vae.reconstruct(noisy), data_range=1.0).psnr
    assert torch.equal(vae.reconstruct(noisy), vae.reconstruct(noisy))
    for rank in range(1, 17):
        pca = PCA(rank).fit(data.train.x.flatten(1))
        x_hat = pca.inverse_transform(pca.transform(noisy.flatten(1))).reshape(noisy.shape)
        gain = restored - image_quality(data.test.x, x_hat, data_range=1.0).psnr
        assert gain.mean() - 3 * gain.sem() > 6
