"""Models for the tests: small ones of every kind, a light one of every family, and the rows of all goldens."""

from dataclasses import dataclass
from typing import Any

import torch

import zoo
from tools import golden_file
from tools.fill import fill
from zoo.registry import create_meta, source, variant

GOLDENS = {
    row["name"]: row | {"file": family} for family in golden_file.families() for row in golden_file.read(family).rows
}
FAMILIES: dict[str, list[str]] = {}  # the variants of each family file
for _name in zoo.names():
    FAMILIES.setdefault(source(_name).stem, []).append(_name)
# One small variant for every readout and every kind of attention, with an image size, not square if possible.
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
    "mobilenetv4_hybrid_medium_075": (64, 96),
}
# Options that make slow methods run few forwards.
FEW: dict[str, dict] = {
    "score_cam": {"tap": "stage1"},
    "integrated_gradients": {"steps": 2},
    "smooth_grad": {"samples": 2},
    "gradient_shap": {"samples": 2},
    "occlusion": {"window": 16},
    "ablation": {"cells": 2},
}

# Fewer blocks, for tests that make many maps of one model: the blocks are all of one kind.
SHORT: dict[str, dict] = {"swin_cifar": {"depths": (2, 2, 2)}, "vit_cifar": {"depth": 2}}


def on_meta(name: str, **overrides: Any) -> zoo.Backbone:
    """A variant on the meta device: it has shapes, names and attributes, but no numbers."""
    return create_meta(name, **overrides)


WITH_ATTENTION = [name for name in SMALL if on_meta(name).no_attention is None]


def build(name: str, **overrides: Any) -> zoo.Backbone:
    """A variant in float64, filled so that every layer matters, and frozen as a loaded model is."""
    weights = fill(on_meta(name, **overrides).state_dict(), gain=golden_file.read(source(name).stem).gain)
    return zoo.create_from(name, weights, **overrides).requires_grad_(False)


def noise(name: str, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *SMALL[name], generator=generator, dtype=torch.float64)


def lightest_first(family: str) -> list[str]:
    """The variants of a family with a golden, or all if none has one, those with the fewest parameters first."""

    def parameters(name: str) -> int:
        return sum(p.numel() for p in on_meta(name).parameters())

    recorded = {name: int(row["parameters"]) for name, row in GOLDENS.items() if row["file"] == family}
    return sorted(recorded or FAMILIES[family], key=recorded.get if recorded else parameters)


@dataclass(frozen=True)
class Light:
    """A variant cut down as its family's golden says, and the size of an image that it accepts."""

    name: str
    overrides: dict[str, Any]
    height: int
    width: int

    def build(self, **overrides: Any) -> zoo.Backbone:
        return build(self.name, **self.overrides | overrides)


def light(name: str) -> Light:
    """A variant with the cut and the image size of its family's golden; whole if there is no golden."""
    golden = golden_file.read(source(name).stem)
    size = golden.size(name, "test_size")
    if size is None:
        size = (64, 96) if variant(name)[1].img_size is None else zoo.native(name)[1:3]
    return Light(name, golden.light(name), *size)


def light_names() -> list[str]:
    """The lightest variant of every family, and those that its golden lists as unlike it."""
    return [name for family in FAMILIES for name in (lightest_first(family)[0], *golden_file.read(family).unlike)]
