"""Blocks other than ViT's own."""

import torch

import zoo


def test_only_blocks_of_two_attentions_side_by_side_refuse_rollout():
    refusals = {}
    for name in ("vit_small_patch16_18x2_224", "vit_pwee_patch16_reg1_gap_256", "vit_small_patch16_224"):
        with torch.device("meta"):
            refusals[name] = zoo.create(name, depth=2).no_rollout
    assert refusals == {
        "vit_small_patch16_18x2_224": "each block adds up two attentions that read the same tokens, "
        "so there is no chain of layers to follow",
        "vit_pwee_patch16_reg1_gap_256": None,
        "vit_small_patch16_224": None,
    }
