"""A small model's weights, a pickle that runs code when it is read, and a check of how a refusal looks."""

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
    """The message of the WeightsError, which must be one short paragraph."""
    with pytest.raises(WeightsError) as caught:
        call(*args)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 400
    return text
