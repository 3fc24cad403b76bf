"""torchvision, also where its compiled operators are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

__all__ = ["torchvision"]

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def torchvision() -> ModuleType:
    """The module `torchvision`, imported when first asked for.

    The wheel on PyPI is compiled against a CUDA build of torch. Beside a CPU build its operators do not load,
    and the import stops where it describes two of them: "operator torchvision::nms does not exist". The data
    sets use neither, so declaring the two schemas is enough; calling the operators fails as it did before.

    Returns
    -------
    ModuleType
        The module, with `datasets`.

    Raises
    ------
    RuntimeError
        Where the import fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for operator, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(f"torchvision::{operator}", schema)
    return importlib.import_module("torchvision")
