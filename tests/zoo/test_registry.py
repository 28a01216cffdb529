"""Every name has one class, one config and one file."""

import pytest

import zoo
from zoo.registry import register, source, variant


def test_the_file_of_a_variant_contains_its_name():
    for name in zoo.names():
        assert f'"{name}": ' in source(name).read_text(), name


def test_a_variants_file_may_differ_from_the_file_of_its_class():
    name = "vit_base_patch16_siglip_224"
    assert source(name).stem == "siglip"
    assert variant(name)[0].__module__ == "zoo.families.vit"


def test_an_unknown_name_is_refused_with_similar_names():
    with pytest.raises(KeyError, match=r"no architecture 'resnet51'.*resnet50"):
        source("resnet51")


def test_a_name_is_registered_once():
    model, cfg = variant("resnet18")
    with pytest.raises(ValueError, match="resnet18 is registered twice"):
        register(model, {"resnet18": cfg})
