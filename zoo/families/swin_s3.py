"""Swin S3 (AutoFormerV2): Swin with the window size of each stage, and the depth, found by search.

    as zoo/families/swin.py, with windows of 7 or 14 tokens, one side a stage

Chen et al. 2021, "Searching the Search Space of Vision Transformer", arXiv:2111.14725.
"""

from zoo.families.swin import Config, Swin
from zoo.registry import register

VARIANTS = {
    "swin_s3_tiny_224": Config(96, (2, 2, 6, 2), (3, 6, 12, 24), (7, 7, 14, 7)),
    "swin_s3_small_224": Config(96, (2, 2, 18, 2), (3, 6, 12, 24), (14, 14, 14, 7)),
    "swin_s3_base_224": Config(96, (2, 2, 30, 2), (3, 6, 12, 24), (7, 7, 14, 7)),
}
register(Swin, VARIANTS)
