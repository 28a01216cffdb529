"""Finding models: how well a name matches comes first, then what is here, then accuracy."""

from itertools import pairwise

import pytest

import engine
import zoo
from engine import find_models
from zoo.registry import create_meta


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("resnet50", "resnet50"),
        (" ResNet50 ", "resnet50"),
        ("resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("resnet18", "resnet18"),
        ("tf_efficientnet_lite0", "tf_efficientnet_lite0"),
        ("", "tf_efficientnet_lite2"),
    ],
)
def test_the_first(query, first):
    assert find_models(query)[0] == first


def test_the_names_that_begin_with_a_query_then_words_that_do_then_the_rest():
    found = find_models("vit", limit=5000)
    starts = [name.startswith("vit") for name in found]
    assert starts == sorted(starts, reverse=True)
    assert True in starts
    assert "fastvit_t8" in found
    found = find_models("efficientnet", limit=5000)  # the second is here, the first is not
    assert found.index("efficientnet_b0") < found.index("tf_efficientnet_lite2")


def test_the_start_of_a_word_goes_before_its_middle():
    found = find_models("lite", limit=5000)
    words = [any(word.startswith("lite") for word in name.replace(".", "_").split("_")) for name in found]
    assert words == sorted(words, reverse=True)


def test_words_in_any_order_in_the_name_or_the_family():
    assert "swin_tiny_patch4_window7_224" in find_models("tiny swin")
    assert "resnet50" in find_models("ResNet-50")
    assert "convnext_tiny" in find_models("tiny convolution", limit=5000)
    assert find_models("nothing is called this") == []


def test_among_equals_an_architecture_goes_before_its_checkpoints_and_the_more_accurate_first():
    found = find_models("resnet50.*", limit=5000)
    rows = [zoo.checkpoint(name) for name in found]
    of_imagenet = [row.top1 or 0 for row in rows if row.labels == "in1k" and not zoo.is_local(row)]
    assert len(of_imagenet) > 10
    assert all(one >= other for one, other in pairwise(of_imagenet))
    everything = find_models("", limit=5000)
    position = {name: i for i, name in enumerate(everything)}
    assert all(position[name.partition(".")[0]] <= i for i, name in enumerate(everything))


def test_every_name_is_listed_once():
    assert sorted(find_models("", limit=5000)) == sorted([*zoo.names(), *zoo.checkpoints()])


def test_globs():
    assert find_models("vit_tiny_patch16_[23]*4") == ["vit_tiny_patch16_384", "vit_tiny_patch16_224"]
    assert "resnet50.a1_in1k" in find_models("*50.a1*")
    assert find_models("resnet1?") != []


@pytest.mark.parametrize("query", ["*a" * 39 + "b", "?" * 80, "[" * 80, "[!" + "a-" * 39, "*[a-z]" * 13])
def test_no_glob_stalls(query):
    find_models(query, limit=5000)


def test_what_is_refused():
    with pytest.raises(engine.EngineError, match="type words, or a name with \\*"):
        find_models("/(a+)+$/")
    with pytest.raises(engine.EngineError, match="at most 80 characters"):
        find_models("a" * 101)
    assert find_models("(a+)+$") == []


def test_the_limit():
    assert len(find_models("")) == 50
    assert len(find_models("", limit=7)) == 7


@pytest.mark.parametrize("name", ["coatnet_0_224", "beit3_giant_patch14_224", "resnet20_cifar", "tiny_vit_5m_224"])
def test_an_architecture_with_random_weights_has_the_classes_that_are_built(name):
    assert engine.recipe(name).num_classes == create_meta(name).num_classes


def test_a_photo_for_an_architecture_without_checkpoints_is_prepared_as_for_most():
    row = engine.recipe("coatnet_0_224")
    assert (row.size, row.mode, row.interpolation) == ((224, 224), "center", "bicubic")
    assert row.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", ["resnet50", "resnet50.a1_in1k", "vit_small_patch14_dinov2.lvd142m"])
def test_what_an_image_costs_is_read_from_the_table_as_it_would_be_counted(name):
    row = engine.recipe(name)
    counted = zoo.cost(row.architecture, row.size, row.num_classes)
    told = engine.price(name)
    assert (told.parameters, told.macs, told.activations) == (counted.parameters, counted.macs, counted.activations)
    assert told.weight_bytes == counted.weight_bytes


def test_what_an_image_costs_a_model_that_is_in_no_table_is_counted(monkeypatch):
    known = engine.price("resnet18")
    monkeypatch.setattr("engine.search.figures", dict)
    assert engine.price("resnet18") == known
