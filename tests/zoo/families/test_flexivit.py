"""FlexiViT: the patch size is chosen when the model is used, with the same weights."""

import torch

import zoo
from tools.fill import fill, noise_image

NAME, SMALL = "flexivit_small", {"depth": 1}


def test_the_same_weights_take_any_patch_and_any_table():
    with torch.device("meta"):
        keys = zoo.create(NAME, img_size=160, **SMALL).state_dict()
    weights = fill(keys)
    for patch in (16, 30):
        model = zoo.create_from(NAME, weights, patch=patch, **SMALL)
        assert model.table_grid == (10, 10)
        assert model(noise_image(1, 240, 480)).shape == (1, 1000)
        assert model.embed(noise_image(1, 240, 480))[1].shape == (240 // patch, 480 // patch)


def test_a_patch_first_seen_in_inference_mode_can_be_trained_on():
    model = zoo.create(NAME, patch=24, img_size=96, **SMALL)
    with torch.inference_mode():
        model(torch.zeros(1, 3, 96, 96))
    model.train()(torch.zeros(1, 3, 96, 96)).sum().backward()
    assert model.get_parameter("patch_embed.proj.weight").grad is not None
