"""The reference for the zoo: timm, or torchvision for what timm lacks.

Their weights depend only on keys and shapes.
"""

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tools.fill import fill

_OPS = torch.library.Library("torchvision", "FRAGMENT")  # its declarations live as long as this object


def _declare_missing_ops() -> None:
    """Let timm import torchvision when its compiled library does not load, as with a CPU build of torch.

    Its Python half needs two of the library's ops to be declared. If the library does load, it declares them itself,
    and a second declaration would abort the process.
    """
    torchvision = importlib.util.find_spec("torchvision")
    if torchvision is None or torchvision.origin is None:
        return
    for library in Path(torchvision.origin).parent.glob("_C*.*"):  # "_C_stable" from 0.29 on
        with contextlib.suppress(OSError):
            torch.ops.load_library(library)
            return
    for op in ("nms", "qnms"):
        _OPS.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declare_missing_ops()

import timm  # noqa: E402 (it can only be imported after the declaration)
from timm.layers import evo_norm, filter_response_norm  # noqa: E402
from timm.models.efficientvit_mit import LiteMLA  # noqa: E402
from torchvision.models import get_model  # noqa: E402


class _Exact(TorchFunctionMode):
    """Stays in float64 where the reference asks for float32 on the way."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is Tensor.float and args[0].dtype == torch.float64 else func(*args, **(kwargs or {}))


def _exact(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def called(*args: Any, **kwargs: Any) -> Tensor:
        with _Exact():
            return function(*args, **kwargs)

    return called


evo_norm.group_std = _exact(evo_norm.group_std)
filter_response_norm.inv_instance_rms = _exact(filter_response_norm.inv_instance_rms)
LiteMLA._attn = _exact(LiteMLA._attn)

# What timm sets only for the weights that it downloads, and the zoo always.
WITH_WEIGHTS = {"fbnetc_100": {"bn_eps": 1e-3}}


def build(name: str, blocks: int | None = None, **overrides: Any) -> nn.Module:
    """Build timm's model, or torchvision's if timm has none of that name, in eval mode.

    Some take no argument for depth: `blocks` is how many a stage keeps.
    """
    if not timm.is_model(name):
        model = get_model(name, **overrides).eval()
        model.pretrained_cfg = {"input_size": (3, 224, 224)}
        return model
    model = timm.create_model(name, **WITH_WEIGHTS.get(name, {}) | overrides).eval()
    if blocks is not None:
        stages = model.blocks if hasattr(model, "blocks") else model.stages
        for i, stage in enumerate(stages):
            if hasattr(stage, "blocks"):
                stage.blocks = stage.blocks[:blocks]
            else:
                stages[i] = stage[:blocks]
    return model


def reference(name: str, **overrides: Any) -> nn.Module:
    """Build the reference's model on the meta device, in eval mode."""
    with torch.device("meta"):
        return build(name, **overrides)


def filled_reference(
    name: str, salt: str = "", gain: float = 1.0, **overrides: Any
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Build the reference's model in float64 with filled weights; return the model and the weights."""
    model = build(name, **overrides).double()
    weights = fill(model.state_dict(), salt, gain)
    model.load_state_dict(weights)
    return model, weights
