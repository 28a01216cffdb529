"""Models for the tests: small ones of every kind, one light one of every family, and what the goldens say of all."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

import zoo
from tools import golden_file
from tools.fill import fill
from zoo.cost import native_size
from zoo.registry import source, variant

GOLDENS = {
    row["name"]: row | {"file": family} for family in golden_file.families() for row in golden_file.read(family).rows
}
FAMILIES = sorted({source(name).stem for name in zoo.names()})
# One small variant of every readout and every kind of attention, and an image that is not square where it can be.
SMALL = {
    "resnet32_cifar": (32, 48),
    "convnext_cifar": (32, 64),
    "mobilenetv2_cifar": (32, 64),
    "mixer_cifar": (32, 32),
    "swin_cifar": (32, 48),
    "vit_cifar": (32, 48),
    "test_vit2": (64, 96),
    "test_vit3": (64, 96),
    "deit_tiny_distilled_patch16_224": (64, 96),
    "vit_dwee_patch16_reg1_gap_256": (64, 96),
    "vit_dpwee_patch16_reg1_gap_256": (64, 96),
    "test_resnet": (64, 96),
    "test_convnext": (64, 96),
    "eva02_tiny_patch14_336": (56, 84),
    "vit_pe_core_tiny_patch16_384": (64, 96),
    "vit_tiny_patch16_dinov3_qkvb": (64, 96),
    "cait_cifar": (32, 48),
    "fastvit_t8": (64, 96),
}
# How to ask the methods of many forwards for few.
FEW: dict[str, dict] = {
    "score_cam": {"tap": "stage1"},
    "integrated_gradients": {"steps": 2},
    "smooth_grad": {"samples": 2},
    "gradient_shap": {"samples": 2},
    "occlusion": {"window": 16},
    "ablation": {"cells": 2},
}


def on_meta(name: str, **overrides: Any) -> zoo.Backbone:
    """A variant without numbers: shapes, names, and what it says of itself."""
    with torch.device("meta"):
        return zoo.create(name, **overrides)


WITH_ATTENTION = [name for name in SMALL if on_meta(name).no_attention is None]


def build(name: str, **overrides: Any) -> zoo.Backbone:
    """A variant in float64 with weights that let every layer matter, frozen as a loaded one is."""
    gain = golden_file.read(source(name).stem).gain
    weights = fill(on_meta(name, **overrides).state_dict(), gain=gain)
    return zoo.create_from(name, weights, **overrides).requires_grad_(False)


def noise(name: str, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *SMALL[name], generator=generator, dtype=torch.float64)


def lightest(count: int) -> list[str]:
    """The variants of each family with a golden that have the fewest parameters."""
    files: dict[str, list[str]] = {}
    for name in sorted(GOLDENS, key=lambda name: int(GOLDENS[name]["parameters"])):
        files.setdefault(GOLDENS[name]["file"], []).append(name)
    return [name for names in files.values() for name in names[:count]]


@dataclass(frozen=True)
class Light:
    """A variant cut down as its family's golden says, and an image that it takes."""

    name: str
    overrides: dict[str, Any]
    height: int
    width: int

    def build(self, **overrides: Any) -> zoo.Backbone:
        return build(self.name, **self.overrides | overrides)


@cache
def light(family: str) -> Light:
    """The lightest variant of a family, cut and shown what its golden says; where there is none, whole."""
    names = [name for name in zoo.names() if source(name).stem == family]
    goldens = [name for name in lightest(1) if name in names]
    if goldens:
        golden = golden_file.read(family)
        (name,) = goldens
        size, overrides = golden.size(name), golden.light(name)
    else:
        name, size, overrides = min(names, key=lambda name: zoo.cost(name).macs), None, {}
    if size is None:
        size = (64, 96) if getattr(variant(name)[1], "img_size", None) is None else native_size(name)
    return Light(name, overrides, *size)
