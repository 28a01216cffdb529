"""A small model's weights, a pickle that acts when it is read, and what a refusal has to look like."""

import os

import pytest

import zoo
from zoo.weights import WeightsError

ARCHITECTURE = "resnet20_cifar"
STATE = zoo.create(ARCHITECTURE, num_classes=7).state_dict()


class Code:
    """A pickle of this makes a folder when it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def sentence(call, *args):
    """What the WeightsError says, which must be one short paragraph."""
    with pytest.raises(WeightsError) as caught:
        call(*args)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 400
    return text
