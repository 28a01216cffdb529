"""The page of families is what the tool writes."""

import pytest

import zoo
from tools.gallery import FILE, row, size, span

FEW = ["ResNet CIFAR", "MLP-Mixer", "SqueezeNet", "LeViT"]


def test_every_family_has_its_line_in_the_order_of_the_table():
    told = [line.split(" (")[0].removeprefix("| ") for line in FILE.read_text().splitlines() if "](../zoo/" in line]
    assert told == [family.name.split(" (")[0] for family in zoo.all_families()]


@pytest.mark.parametrize("name", FEW)
def test_a_line_says_what_the_catalogue_and_the_architectures_say(name):
    (family,) = (family for family in zoo.all_families() if family.name == name)
    assert row(family) in FILE.read_text().splitlines()


def test_a_span_is_short():
    assert span([300.4, 5.256], size) == "5.26 to 300"
    assert span([1.0], size) == "1"
    assert span([], size) == ""
