"""The stored table of costs is what is counted."""

import pytest

import zoo
from tests.models import GOLDENS
from tools.costs import counted, priced
from zoo.catalogue import figures

FEW = ["resnet18", "mobilenetv2_100", "vit_tiny_patch16_224", "swin_cifar", "mixer_cifar", "sequencer2d_s"]


def test_every_model_has_a_line_and_every_architecture_the_references_parameters():
    assert list(figures()) == priced()
    own = {model[0]: cost.parameters for model, cost in reversed(figures().items())}  # its own line is first
    assert {name: own[name] for name in GOLDENS} == {name: int(row["parameters"]) for name, row in GOLDENS.items()}


@pytest.mark.parametrize("model", [model for model in priced() if model[0] in FEW], ids=str)
def test_a_line_says_what_is_counted(model):
    assert figures()[model] == counted(*model)


def test_a_checkpoint_has_its_own_size_and_classes():
    assert figures()["resnet50", 224, 224, 1000].macs == zoo.cost("resnet50", (224, 224)).macs
