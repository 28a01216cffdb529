"""FlexiViT: the patch is chosen when the model is used, the weights stay."""

import torch

import zoo
from tools.filled import fill, picture

NAME, SMALL = "flexivit_small", {"depth": 1}


def test_the_same_weights_take_any_patch_and_any_table():
    with torch.device("meta"):
        weights = fill(zoo.create(NAME, img_size=160, **SMALL).state_dict())
    for patch in (16, 30):
        model = zoo.create_from(NAME, weights, patch=patch, **SMALL)
        assert model.table_grid == (10, 10)
        assert model(picture(1, 240, 480)).shape == (1, 1000)
        assert model.embed(picture(1, 240, 480))[1].shape == (240 // patch, 480 // patch)
