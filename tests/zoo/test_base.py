"""What is no batch of images is refused in one sentence, before any layer sees it."""

import pytest
import torch

import zoo

STRANGE = {
    "one image": torch.zeros(3, 32, 32),
    "grey": torch.zeros(1, 1, 32, 32),
    "whole numbers": torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
}


@pytest.mark.parametrize("name", ["resnet20_cifar", "vit_cifar"])
@pytest.mark.parametrize("what", STRANGE)
def test_what_is_no_batch_of_images_is_refused(name, what):
    with pytest.raises(ValueError, match=r"is no batch of images: give \(B, 3, height, width\) in floating point"):
        zoo.create(name)(STRANGE[what])


@pytest.mark.parametrize("name", ["resnet20_cifar", "vit_cifar"])
def test_an_image_without_pixels_is_refused(name):
    with pytest.raises(ValueError, match="An image of 0x32 has no pixels"):
        zoo.create(name)(torch.zeros(1, 3, 0, 32))
