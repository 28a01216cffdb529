"""Which explanations a model allows, without its weights."""

import pytest

import engine
import explain
import zoo
from tests.models import SMALL


@pytest.mark.parametrize("name", SMALL)
def test_a_model_on_meta_says_what_the_real_one_says(name):
    assert engine.explanations(name) == explain.available(zoo.create(name))


OFFLINE = [row.name for row in zoo.checkpoints().values() if row.bundled or row.package]


@pytest.mark.parametrize("name", OFFLINE)
def test_a_loaded_checkpoint_says_the_same(name):
    assert engine.explanations(name) == explain.available(zoo.load(name))


def test_a_checkpoint_without_classes():
    found = {offer.method.key: offer for offer in engine.explanations("vit_small_patch14_dinov2.lvd142m")}
    assert not found["grad_cam"].ok
    assert "has no classes" in found["grad_cam"].reason
    assert found["attention"].ok


def test_the_answer_may_be_changed_by_who_asked():
    engine.explanations("resnet18").clear()
    assert len(engine.explanations("resnet18")) == len(explain.METHODS)


def test_an_unknown_name_is_refused():
    with pytest.raises(engine.EngineError, match="resnet50"):
        engine.explanations("resnet5O")
