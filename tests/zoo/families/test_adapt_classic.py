"""Published files of classic nets that hold other keys than their architecture."""

import torch

from tests.models import build
from zoo.families.densenet import DenseNet
from zoo.families.inception_v3 import InceptionV3
from zoo.families.vgg import VGG


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_torchvisions_vgg_has_a_matrix_for_each_conv_of_the_head():
    own = build("vgg11", dims=((8,), (8,), (8,), (8,), (8,), (5, 6))).state_dict()
    theirs = {key: value for key, value in own.items() if key.startswith("features.")}
    for number, name in ((0, "pre_logits.fc1"), (3, "pre_logits.fc2"), (6, "head.fc")):
        theirs[f"classifier.{number}.weight"] = own[f"{name}.weight"].flatten(1)
        theirs[f"classifier.{number}.bias"] = own[f"{name}.bias"]
    assert_same(VGG.adapt(theirs), own)


def test_torchvisions_densenet_has_one_more_dot_in_its_layers():
    own = build("densenet121", depths=(1, 1, 1, 1)).state_dict()
    dotted = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in key else key: value
        for key, value in own.items()
    }
    assert dotted.keys() != own.keys()
    assert_same(DenseNet.adapt(dotted), own)


def test_an_auxiliary_classifier_is_left_out():
    assert list(InceptionV3.adapt({"fc.weight": torch.ones(2, 3), "AuxLogits.fc.weight": torch.ones(2, 3)})) == [
        "fc.weight"
    ]
