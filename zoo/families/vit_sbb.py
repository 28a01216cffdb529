"""ViT in small, odd shapes: sizes between tiny and large, read out by their mean, with registers to think in.

The shapes and their recipe ("Searching for Better ViT Baselines") are timm's own (Ross Wightman, 2024): deeper or wider
than the paper's sizes at the same cost. Registers: Darcet et al. 2023, arXiv:2309.16588. The so150m rows follow the
shape-optimised ViT of Alabdulmohsin et al. 2023, arXiv:2305.13035.
"""

from dataclasses import replace

from zoo.families.vit import Config, ViT
from zoo.families.vit_blocks import DiffBlock, DiffParallelBlock, ParallelBlock
from zoo.registry import register

GAP = Config(class_token=False, pool="mean", place_prefix=False, head_norm=True, layer_scale=1e-5)
WEE = replace(GAP, dim=256, depth=14, num_heads=4, mlp_ratio=5, registers=1, img_size=256)
PWEE = replace(WEE, depth=16)
LITTLE = replace(GAP, dim=320, depth=14, num_heads=5, mlp_ratio=5.6, registers=1, img_size=256)
MEDIUM = replace(GAP, dim=512, num_heads=8, registers=1, img_size=256)
BETWIXT = replace(GAP, dim=640, num_heads=10, registers=1, img_size=256)
BASE = replace(GAP, registers=4, layer_scale=None, img_size=256)
SO150M = Config(896, 18, 14, mlp_ratio=2.572, class_token=False, registers=4, pool="mean", img_size=256)
SO150M2 = replace(SO150M, dim=832, depth=21, num_heads=13, mlp_ratio=34 / 13, registers=1)
SO150M2 = replace(SO150M2, layer_scale=1e-5, qkv_bias=False, head_norm=True)
BEFORE = dict(registers=0, layer_scale=1e-6, qkv_bias=False, head_norm=False)  # the first recipe, without registers

VARIANTS = {
    "vit_wee_patch16_reg1_gap_256": WEE,
    "vit_dwee_patch16_reg1_gap_256": replace(WEE, block=DiffBlock),
    "vit_pwee_patch16_reg1_gap_256": replace(PWEE, block=ParallelBlock),
    "vit_dpwee_patch16_reg1_gap_256": replace(PWEE, block=DiffParallelBlock),
    "vit_little_patch16_reg1_gap_256": LITTLE,
    "vit_little_patch16_reg4_gap_256": replace(LITTLE, registers=4),
    "vit_dlittle_patch16_reg1_gap_256": replace(LITTLE, block=DiffBlock),
    "vit_medium_patch16_gap_240": replace(MEDIUM, img_size=240, num_classes=11821, **BEFORE),
    "vit_medium_patch16_gap_256": replace(MEDIUM, **BEFORE),
    "vit_medium_patch16_gap_384": replace(MEDIUM, img_size=384, **BEFORE),
    "vit_medium_patch16_reg1_gap_256": MEDIUM,
    "vit_medium_patch16_reg4_gap_256": replace(MEDIUM, registers=4),
    "vit_mediumd_patch16_reg4_gap_256": replace(MEDIUM, depth=20, registers=4),
    "vit_mediumd_patch16_reg4_gap_384": replace(MEDIUM, depth=20, registers=4, img_size=384),
    "vit_betwixt_patch16_gap_256": replace(BETWIXT, **BEFORE),
    "vit_betwixt_patch16_reg1_gap_256": BETWIXT,
    "vit_betwixt_patch16_reg4_gap_256": replace(BETWIXT, registers=4),
    "vit_betwixt_patch16_reg4_gap_384": replace(BETWIXT, registers=4, img_size=384),
    "vit_base_patch16_reg4_gap_256": BASE,
    "vit_so150m_patch16_reg4_gap_256": SO150M,
    "vit_so150m_patch16_reg4_gap_384": replace(SO150M, img_size=384),
    "vit_so150m_patch16_reg4_map_256": replace(SO150M, pool="map"),
    "vit_so150m2_patch16_reg1_gap_256": SO150M2,
    "vit_so150m2_patch16_reg1_gap_384": replace(SO150M2, img_size=384),
    "vit_so150m2_patch16_reg1_gap_448": replace(SO150M2, img_size=448),
}
register(ViT, VARIANTS)
