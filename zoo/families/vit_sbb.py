"""ViT in small, unusual shapes: sizes between tiny and large, read out by their mean, most with registers.

The shapes and their recipe ("Searching for Better ViT Baselines") are timm's own (Ross Wightman, 2024): deeper or wider
than the paper's sizes at the same cost. Registers: Darcet et al. 2023, arXiv:2309.16588. The so150m rows follow the
shape-optimised ViT of Alabdulmohsin et al. 2023, arXiv:2305.13035.
"""

from dataclasses import replace

from zoo.families.vit import UNBIASED, Config, Pool, Tokens, ViT
from zoo.families.vit_blocks import DiffAttention, DiffParallelBlock, ParallelBlock
from zoo.registry import register

REG0 = Tokens(class_token=False, places="patches")
REG1 = replace(REG0, registers=1)
REG4 = replace(REG0, registers=4)
REG1_PLACED, REG4_PLACED = (replace(tokens, places="all") for tokens in (REG1, REG4))
GAP = Config(tokens=REG1, readout="mean_norm", layer_scale=1e-5, img_size=256)
WEE = replace(GAP, dim=256, depth=14, num_heads=4, mlp_ratio=5)
PWEE = replace(WEE, depth=16)
LITTLE = replace(GAP, dim=320, depth=14, num_heads=5, mlp_ratio=5.6)
MEDIUM = replace(GAP, dim=512, num_heads=8)
BETWIXT = replace(GAP, dim=640, num_heads=10)
BASE = replace(GAP, tokens=REG4, layer_scale=None)
SO150M = replace(BASE, dim=896, depth=18, num_heads=14, mlp_ratio=2.572, tokens=REG4_PLACED, readout="norm_mean")
SO150M2 = replace(GAP, dim=832, depth=21, num_heads=13, mlp_ratio=34 / 13, tokens=REG1_PLACED, attention=UNBIASED)
BEFORE = dict(tokens=REG0, layer_scale=1e-6, attention=UNBIASED, readout="norm_mean")  # the first recipe

VARIANTS = {
    "vit_wee_patch16_reg1_gap_256": WEE,
    "vit_dwee_patch16_reg1_gap_256": replace(WEE, attention=DiffAttention),
    "vit_pwee_patch16_reg1_gap_256": replace(PWEE, block=ParallelBlock),
    "vit_dpwee_patch16_reg1_gap_256": replace(PWEE, block=DiffParallelBlock),
    "vit_little_patch16_reg1_gap_256": LITTLE,
    "vit_little_patch16_reg4_gap_256": replace(LITTLE, tokens=REG4),
    "vit_dlittle_patch16_reg1_gap_256": replace(LITTLE, attention=DiffAttention),
    "vit_medium_patch16_gap_240": replace(MEDIUM, img_size=240, num_classes=11821, **BEFORE),
    "vit_medium_patch16_gap_256": replace(MEDIUM, **BEFORE),
    "vit_medium_patch16_gap_384": replace(MEDIUM, img_size=384, **BEFORE),
    "vit_medium_patch16_reg1_gap_256": MEDIUM,
    "vit_medium_patch16_reg4_gap_256": replace(MEDIUM, tokens=REG4),
    "vit_mediumd_patch16_reg4_gap_256": replace(MEDIUM, depth=20, tokens=REG4),
    "vit_mediumd_patch16_reg4_gap_384": replace(MEDIUM, depth=20, tokens=REG4, img_size=384),
    "vit_betwixt_patch16_gap_256": replace(BETWIXT, **BEFORE),
    "vit_betwixt_patch16_reg1_gap_256": BETWIXT,
    "vit_betwixt_patch16_reg4_gap_256": replace(BETWIXT, tokens=REG4),
    "vit_betwixt_patch16_reg4_gap_384": replace(BETWIXT, tokens=REG4, img_size=384),
    "vit_base_patch16_reg4_gap_256": BASE,
    "vit_so150m_patch16_reg4_gap_256": SO150M,
    "vit_so150m_patch16_reg4_gap_384": replace(SO150M, img_size=384),
    "vit_so150m_patch16_reg4_map_256": replace(SO150M, readout=Pool()),
    "vit_so150m2_patch16_reg1_gap_256": SO150M2,
    "vit_so150m2_patch16_reg1_gap_384": replace(SO150M2, img_size=384),
    "vit_so150m2_patch16_reg1_gap_448": replace(SO150M2, img_size=448),
}
register(ViT, VARIANTS)
