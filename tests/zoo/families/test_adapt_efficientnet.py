"""Files of the EfficientNet-PyTorch line, which number their blocks through and name everything otherwise."""

import pytest

import zoo
from tests.models import on_meta
from zoo.registry import variant

OUTSIDE = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
SEPARABLE = {
    "conv_dw": "_depthwise_conv",
    "bn1": "_bn1",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
    "conv_pw": "_project_conv",
    "bn2": "_bn2",
}
INVERTED = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}


def theirs(model: zoo.Backbone, state: dict) -> dict:
    """The model's own state dict, under the names that such a file has."""
    names = {f"{ours}.": f"{name}." for ours, name in OUTSIDE.items()}
    number = 0
    for i, stage in enumerate(model.get_submodule("blocks").children()):
        for j in range(len(list(stage.children()))):
            for ours, name in (INVERTED if i else SEPARABLE).items():
                names[f"blocks.{i}.{j}.{ours}."] = f"_blocks.{number}.{name}."
            number += 1
    file = {}
    for key, value in state.items():
        (prefix,) = (prefix for prefix in names if key.startswith(prefix))
        file[names[prefix] + key.removeprefix(prefix)] = value
    return file


@pytest.mark.parametrize("name", [*(f"tf_efficientnet_b{i}" for i in range(9)), *zoo.names("tf_efficientnet_lite?")])
def test_each_tensor_finds_its_place(name):
    model = on_meta(name)
    state = model.state_dict()
    found = variant(name)[0].adapt(theirs(model, state))
    assert found.keys() == state.keys()
    assert all(found[key] is state[key] for key in state)


def test_our_own_files_stay_as_they_are():
    state = on_meta("tf_efficientnet_b0").state_dict()
    assert variant("tf_efficientnet_b0")[0].adapt(state) is state
