"""PSNR and SSIM of restored images beside the clean ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ppl_vae.arguments import Numbers, Positive, checked
from ppl_vae.libraries import needing, pd
from ppl_vae.tensors import as_tensor, missing_in

__all__ = ["image_quality"]

_WINDOW = 7  # pixels, of the local means and covariances that SSIM compares


@checked
def image_quality(x: Numbers, x_hat: Numbers, *, data_range: Positive) -> pd.DataFrame:
    """PSNR = 10 log10(data_range^2 / MSE), in dB, and SSIM of each restored image beside its clean original.

    Computed by scikit-image. SSIM has a uniform window of 7 x 7 pixels, or the largest odd one that fits a smaller
    image: SSIMs of other windows, or of images of other sizes, are not comparable with it.

    Parameters
    ----------
    x, x_hat
        Clean and restored images, (n, channels, height, width), in the same units.
    data_range
        Largest less smallest value that a pixel of x can have, in these units: 1 for images in [0, 1].

    Returns
    -------
    DataFrame
        Indexed by `obs`, the row of x: `psnr` in dB, infinite where nothing differs, and `ssim`, at most 1.

    Raises
    ------
    ImportError
        Without scikit-image, the extra `ppl_vae[images]`.
    ValueError
        For arrays that are no images of at least 3 x 3 pixels, of different shapes or with values that are not
        finite, and for a `data_range` that is not above 0.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli (2004), doi:10.1109/TIP.2003.819861 (SSIM).

    Examples
    --------
    >>> x = np.random.default_rng(0).random((2, 1, 8, 8))
    >>> image_quality(x, x + 0.1, data_range=1.0).psnr.round(6).tolist()  # MSE 0.01
    [20.0, 20.0]
    """
    metrics = _skimage_metrics()
    clean, restored = (_pixels(v) for v in (x, x_hat))
    _check(clean, restored)
    shorter = min(clean.shape[-2:])
    window = min(_WINDOW, shorter - 1 + shorter % 2)
    with np.errstate(divide="ignore"):
        rows = [
            {
                "psnr": metrics.peak_signal_noise_ratio(a, b, data_range=data_range),
                "ssim": metrics.structural_similarity(a, b, win_size=window, data_range=data_range, channel_axis=0),
            }
            for a, b in zip(clean, restored, strict=True)
        ]
    return pd.DataFrame(rows, index=pd.RangeIndex(len(rows), name="obs"))


def _skimage_metrics() -> Any:
    with needing("image_quality", "scikit-image", "images"):
        from skimage import metrics
    return metrics


def _pixels(x: ArrayLike) -> np.ndarray:
    if missing_in(x) is not None:
        raise ValueError("image_quality expects complete images, got a masked array; fill what is missing: x.filled(0)")
    return as_tensor("image_quality", x).detach().cpu().double().numpy()


def _check(clean: np.ndarray, restored: np.ndarray) -> None:
    if clean.ndim != 4 or clean.shape != restored.shape or not clean.size or min(clean.shape[-2:]) < 3:
        raise ValueError(
            "image_quality expects x and x_hat of one shape (n, channels, height, width), at least 3 x 3 pixels, got "
            f"{clean.shape} and {restored.shape}; give a restored image for each clean one, with a channel axis"
        )
    if not (np.isfinite(clean).all() and np.isfinite(restored).all()):
        raise ValueError(
            "image_quality expects finite pixels, got NaN or infinite ones; fill what is missing, or look at the "
            "decoder's output"
        )
