"""Add a family: a model, a table of variants, one call. Everything else then works with it.

python examples/add_a_family.py
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import explain
import zoo
from zoo import base
from zoo.layers.conv import ConvNorm
from zoo.layers.head import ClassifierHead
from zoo.probe import tap
from zoo.registry import register


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one plain ConvNet from another."""

    dims: tuple[int, ...]  # channels of each stage, which halves the grid


class Plain(zoo.Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/2^n, W/2^n) -> logits (B, num_classes)."""

    readout, no_attention = "mean", base.CONVOLUTIONS

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        pairs = zip((3, *cfg.dims), cfg.dims, strict=False)
        self.stages = nn.Sequential(*(ConvNorm(before, dim, 3, stride=2, act=nn.ReLU) for before, dim in pairs))
        self.head = ClassifierHead(cfg.dims[-1], cfg.num_classes, cfg.drop)

    def forward_features(self, x: Tensor) -> Tensor:
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


register(Plain, {"plain_tiny": Config((16, 32, 64)), "plain_small": Config((32, 64, 128, 256))})

model, x = zoo.create("plain_tiny", num_classes=10), torch.randn(1, 3, 64, 96)
print(f"plain_tiny: logits {tuple(model(x).shape)}, {sum(p.numel() for p in model.parameters()):,} parameters")
print(f"Grad-CAM: a map of {tuple(explain.explain(model, x, 'grad_cam').raw.shape[1:])} cells")
left = sum(isinstance(m, nn.BatchNorm2d) for m in zoo.fuse(model).modules())
print(f"folded for inference: {left} batch norms are left of {len(model.stages)}")
