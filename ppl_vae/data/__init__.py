"""Data with a domain: by name, from files, from arrays."""

from ppl_vae.data.arrays import from_arrays
from ppl_vae.data.columns import Column
from ppl_vae.data.data import Data
from ppl_vae.data.files import from_file
from ppl_vae.data.frames import from_frame, to_frame
from ppl_vae.data.images import read_images
from ppl_vae.data.named import NAMES, again, load
from ppl_vae.data.transforms import Dequantize, SampleBinary, Standardize, Threshold
from ppl_vae.domain import Domain
from ppl_vae.split import Split

__all__ = [
    "NAMES",
    "Column",
    "Data",
    "Dequantize",
    "Domain",
    "SampleBinary",
    "Split",
    "Standardize",
    "Threshold",
    "again",
    "from_arrays",
    "from_file",
    "from_frame",
    "load",
    "read_images",
    "to_frame",
]
