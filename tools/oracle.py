"""The references that the zoo is held against: timm, filled with weights that depend on their keys alone."""

from typing import Any

import torch
from torch import Tensor, nn

from tools.fill import fill

# timm imports torchvision, whose compiled half does not load beside a CPU-only torch: declare the ops that it misses.
_TORCHVISION = torch.library.Library("torchvision", "FRAGMENT")
for _op in ("nms", "qnms"):
    _TORCHVISION.define(f"{_op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402 (after the declaration above)


def reference(name: str, **overrides: Any) -> nn.Module:
    """Build timm's model on the meta device, in eval mode."""
    with torch.device("meta"):
        return timm.create_model(name, **overrides).eval()


def filled_reference(name: str, salt: str = "", **overrides: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """Build timm's model in float64 with filled weights; give it and them."""
    model = timm.create_model(name, **overrides).eval().double()
    weights = fill(model.state_dict(), salt)
    model.load_state_dict(weights)
    return model, weights
