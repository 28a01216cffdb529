"""CPUBone: LowFormer for processors that do little at once: convolutions in two groups, and kernels of 2x2.

    image -> LowFormer's stem and stages -> 1x1 conv -> mean -> norm -> fc
    attention -> 2x2 depthwise conv, which halves stage 3's grid -> attention -> 1x1 conv -> each value four times

Nottebaum et al. 2026, "CPUBone: Efficient Vision Backbone Design for Devices with Low Parallelization Capabilities",
arXiv:2603.26425. Names with dwnorm or bfrobust have batch norms after one or two more convs of the last blocks.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from zoo.families.lowformer import Config, LowFormer, read
from zoo.registry import register


class CPUBone(LowFormer):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    classifier_key = "head.classifier.linear"

    def block(self, dim: int, stride: int, drop_path: float, cfg: Config) -> nn.Module:
        mix, mlp, local = self.parts(dim, stride, drop_path, cfg)
        return nn.Sequential(OrderedDict(total=nn.Sequential(nn.Sequential(mix, mlp), local)))

    def add_head(self, cfg: Config) -> None:
        parts = self.head_parts(cfg, ("linear", "norm", "act"))
        parts["classifier"] = nn.Sequential(OrderedDict(linear=parts["classifier"]))
        self.head = nn.ModuleDict(parts)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return read(self.head, x, pre_logits)


lean = partial(Config, lean=True)
small = partial(lean, halving=4)
B1 = lean((16, 32, 64, 128, 256), (0, 1, 1, 5, 5))
B2 = lean((20, 40, 80, 160, 320), (0, 1, 1, 6, 6), hidden=(2304, 2560))
DEPTHWISE, BOTH = (False, True), (True, True)

VARIANTS = {
    "cpubone_nano": small((12, 24, 48, 96, 192), (0, 1, 1, 1, 2)),
    "cpubone_t0": small((12, 24, 48, 96, 192), (0, 1, 1, 2, 3)),
    "cpubone_s0": small((14, 28, 56, 112, 224), (0, 1, 1, 2, 3)),
    "cpubone_b0_bfrobust": small((16, 32, 64, 128, 256), (0, 1, 1, 3, 4), norms=BOTH),
    "cpubone_b1_bfrobust": replace(B1, norms=BOTH),
    "cpubone_b1_dwnorm": replace(B1, norms=DEPTHWISE),
    "cpubone_b2_bfrobust": replace(B2, norms=BOTH),
    "cpubone_b2pt5_dwnorm": replace(B2, dims=(24, 48, 96, 192, 384), norms=DEPTHWISE),
    "cpubone_b3": lean((32, 64, 128, 256, 512), (1, 2, 3, 6, 6)),
}
register(CPUBone, VARIANTS)
