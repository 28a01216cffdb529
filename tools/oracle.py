"""The references that the zoo is held against: timm, filled with weights that depend on their keys alone."""

import contextlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools.fill import fill

_OPS = torch.library.Library("torchvision", "FRAGMENT")  # what it declares lives as long as it does


def _declare_missing_ops() -> None:
    """Let timm import torchvision, whose compiled library does not load beside a CPU build of torch.

    Its Python half needs two of the library's ops to be declared. Where the library does load it declares them itself,
    and a second declaration ends the process.
    """
    torchvision = importlib.util.find_spec("torchvision")
    if torchvision is None or torchvision.origin is None:
        return
    for library in Path(torchvision.origin).parent.glob("_C.*"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
            return
    for op in ("nms", "qnms"):
        _OPS.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declare_missing_ops()

import timm  # noqa: E402 (only now can it be imported)


def build(name: str, blocks: int | None = None, **overrides: Any) -> nn.Module:
    """Build timm's model, in eval mode. Mobile nets take no argument for depth: `blocks` is how many a stage keeps."""
    model = timm.create_model(name, **overrides).eval()
    if blocks is not None:
        for i, stage in enumerate(model.blocks):
            model.blocks[i] = stage[:blocks]
    return model


def reference(name: str, **overrides: Any) -> nn.Module:
    """Build timm's model on the meta device, in eval mode."""
    with torch.device("meta"):
        return build(name, **overrides)


def filled_reference(name: str, salt: str = "", **overrides: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """Build timm's model in float64 with filled weights; give it and them."""
    model = build(name, **overrides).double()
    weights = fill(model.state_dict(), salt)
    model.load_state_dict(weights)
    return model, weights
