"""The lines that say what a model saw, and where its map was computed."""

from dataclasses import replace

import pytest
from PIL import Image

import zoo
from engine import Request
from engine.captions import crop
from tests.engine.jobs import RED, look

CENTRE = zoo.checkpoint("resnet50.a1_in1k")  # at 224: the middle 224 of 235


@pytest.mark.parametrize(
    ("change", "size", "says"),
    [
        ({"crop": 0.875}, (300, 200), "224 x 224 centre crop, 87.5 % of the shorter side"),
        ({"crop": 0.875}, (200, 300), "224 x 224 centre crop, 87.5 % of the shorter side"),
        ({"crop": 0.95}, (500, 500), "224 x 224 centre crop, 95.3 % of the shorter side"),  # 224 of 235 pixels
        ({"crop": 1.0}, (300, 200), "224 x 224 centre crop, 100 % of the shorter side"),
        ({"crop": 1.0}, (300, 300), "224 x 224, the whole photo"),
        ({"crop": 1.0, "mode": "squash"}, (300, 200), "224 x 224, the whole photo, squashed"),
        ({"crop": 1.0, "mode": "squash"}, (300, 300), "224 x 224, the whole photo"),
        (
            {"crop": 0.875, "mode": "squash"},
            (300, 200),
            "224 x 224 centre crop, 87.5 % of the width and 87.5 % of the height, squashed",
        ),
        ({"crop": 1.0, "mode": "border"}, (300, 200), "224 x 224, the whole photo, with a border"),
        ({"crop": 1.0, "mode": "border"}, (300, 300), "224 x 224, the whole photo"),
        ({"crop": 0.875, "mode": "border"}, (300, 200), "224 x 224, 87.5 % of the longer side, with a border"),
        ({"crop": 0.875, "mode": "border"}, (300, 299), "224 x 224, 87.5 % of the longer side"),
        (
            {"crop": 1.0, "size": (128, 256)},
            (300, 300),
            "256 x 128 centre crop, 100 % of the width and 50 % of the height",
        ),
    ],
)
def test_what_was_seen(change, size, says):
    assert crop(size, replace(CENTRE, **change)) == says


def test_a_look_says_what_was_seen_and_where_its_map_was_computed():
    (found,) = look(Request("resnet20_cifar"), [Image.new("RGB", (64, 32))])
    assert found.crop == "32 x 32 centre crop, 100 % of the shorter side"
    assert found.map.place == "the last features before pooling, 8 x 8"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request("test_vit2"), "the last features before pooling, 10 x 10"),
        (Request("test_vit2", layer="stage2"), "stage2, 10 x 10"),
        (Request("test_vit2", "attention"), "blocks.7.attn, 10 x 10"),
        (Request("test_vit2", "attention", layer="2", head=1), "blocks.2.attn, head 1, 10 x 10"),
        (Request("test_vit2", "rollout"), "8 attention layers, 10 x 10"),
        (Request("test_vit2", "saliency"), "pixels of the image, 160 x 160"),
        (Request("vit_cifar"), "what the last attention reads, 8 x 8"),
        (Request("test_vit2", "similarity"), "the last features before pooling, row 5 and column 5, 10 x 10"),
    ],
)
def test_where_a_map_was_computed(request_, says):
    assert look(request_, [RED])[0].map.place == says
