"""The reference for the zoo: timm, or torchvision for what timm lacks.

Their weights depend only on keys and shapes.
"""

import contextlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

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

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports from places that timm has left
    import fastervit  # (both can only be imported after the declaration)
    from fastervit.models import faster_vit, faster_vit_any_res
import timm  # noqa: E402
from timm.layers import RmsNormFp32, evo_norm, filter_response_norm  # noqa: E402
from timm.models.efficientvit_mit import LiteMLA  # noqa: E402
from timm.models.gemma4_vit import Gemma4VisionPooler  # noqa: E402
from torchvision.models import get_model  # noqa: E402


class _Exact(TorchFunctionMode):
    """Stays in float64 where the reference asks for float32 on the way."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        single = func is Tensor.float or (func is Tensor.to and (kwargs or {}).get("dtype") == torch.float32)
        if single and args[0].dtype in (torch.float64, torch.bool):
            return args[0].double()
        return func(*args, **(kwargs or {}))


class _RatesOnCpu(TorchFunctionMode):
    """Lets fastervit read its rates of stochastic depth while it is built on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}) | ({"device": "cpu"} if func is torch.linspace else {}))


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        with _Exact():
            return function(*args, **kwargs)

    return called


evo_norm.group_std = _exact(evo_norm.group_std)
for module in (faster_vit, faster_vit_any_res):
    module.HAT.forward = _exact(module.HAT.forward)
filter_response_norm.inv_instance_rms = _exact(filter_response_norm.inv_instance_rms)
LiteMLA._attn = _exact(LiteMLA._attn)
RmsNormFp32.forward = _exact(RmsNormFp32.forward)
Gemma4VisionPooler._avg_pool_by_positions = _exact(Gemma4VisionPooler._avg_pool_by_positions)

# What timm sets only for the weights that it downloads, and the zoo always.
WITH_WEIGHTS = {"fbnetc_100": {"bn_eps": 1e-3}}


def _replacing(name: str, overrides: dict[str, Any]) -> nn.Module:
    """Build timm's model where its function names these arguments itself and refuses them: they are replaced later."""
    module = importlib.import_module(timm.model_entrypoint(name).__module__)
    make = module.build_model_with_cfg

    def called(*args: Any, **kwargs: Any) -> nn.Module:
        new = dict(overrides)
        if cfg := kwargs.get("model_cfg"):
            parts = {field.name: new.pop(field.name) for field in fields(cfg) if field.name in new}
            new["model_cfg"] = replace(cfg, **parts)
        return make(*args, **kwargs | new)

    with mock.patch.object(module, "build_model_with_cfg", called):
        return timm.create_model(name)


def build(name: str, blocks: int | None = None, **overrides: Any) -> nn.Module:
    """Build timm's model, or torchvision's if timm has none of that name, in eval mode.

    Some take no argument for depth: `blocks` is how many a stage keeps.
    """
    if name.startswith("faster_vit"):
        return _faster_vit(name, **overrides)
    if not timm.is_model(name):
        model: Any = get_model(name, **overrides).eval()
        model.pretrained_cfg = {"input_size": (3, 224, 224)}
        return model
    try:
        model = timm.create_model(name, **WITH_WEIGHTS.get(name, {}) | overrides).eval()
    except TypeError:
        model = _replacing(name, overrides).eval()
    if blocks is not None:
        _shorten(model, blocks)
    return model


def _shorten(model: Any, blocks: int) -> None:
    """Keep so many blocks of each stage, or of the blocks that all scales have in common (CoaT)."""
    if hasattr(model, "parallel_blocks"):
        model.parallel_blocks = model.parallel_blocks[:blocks]
        return
    stages = next(getattr(model, name) for name in ("blocks", "stages", "network", "levels") if hasattr(model, name))
    for i, stage in enumerate(stages):
        inner = next((name for name in ("blocks", "transformer_encoder") if hasattr(stage, name)), None)
        if inner is not None:
            setattr(stage, inner, getattr(stage, inner)[:blocks])
        elif isinstance(stage, nn.Sequential):
            stages[i] = stage[:blocks]


def _faster_vit(name: str, **overrides: Any) -> nn.Module:
    """Build fastervit's model without the buffers that follow from sizes, and with each parameter under one name."""
    any_size = name.endswith("any_res")
    size: Any = overrides.pop("img_size", None)
    if size and any_size:
        size = size, overrides.pop("img_width", size)
    elif any_size:
        size = 541 if "_2_" in name else 576, 960  # its default, of which it keeps no record
    with _RatesOnCpu(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = fastervit.create_model(name, **overrides | ({"resolution": size} if size else {})).eval()
    for module in model.modules():
        derived = {"relative_bias", "relative_coords_table", "relative_position_index"} & module._buffers.keys()
        module._non_persistent_buffers_set |= derived
        if hasattr(module, "to_global_feature"):
            del module.pos_embed
    if size:
        model.pretrained_cfg["input_size"] = (3, *size) if any_size else (3, size, size)
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
