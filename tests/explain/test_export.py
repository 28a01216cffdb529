"""The exported files of a map read back as the same values."""

import io
import json

import numpy as np
import torch
from PIL import Image

import explain
from explain import export
from explain.render import Placement, layer, overlay
from tests.models import build, noise


def test_values_facts_and_images_read_back():
    model, x = build("resnet32_cifar"), noise("resnet32_cifar", batch=2)
    result = explain.explain(model, x, "smooth_grad", target=[3, 4], contrast=5, samples=2, seed=7)
    photo = Image.new("RGB", (60, 40), (10, 200, 30))
    drawn = layer(result.raw[1].numpy(), result.places((32, 48)), Placement(photo.size, (0, 0, 60, 40), (32, 48)))
    kept = export.files(result.raw[1].numpy(), export.facts(result, 1), photo, drawn, opacity=0.5)
    assert np.array_equal(np.load(io.BytesIO(kept["map.npy"])), result.raw[1].numpy())
    known = json.loads(kept["map.json"])
    assert (known["method"], known["target"], known["contrast"], known["seed"]) == ("smooth_grad", 4, 5, 7)
    assert known["score"] == result.score[1]
    assert known["shape"] == [32, 48]
    assert known["seconds"] > 0
    assert Image.open(io.BytesIO(kept["map.png"])).tobytes() == drawn.tobytes()
    assert Image.open(io.BytesIO(kept["overlay.png"])).tobytes() == overlay(photo, drawn, 0.5).tobytes()


def test_every_methods_facts_can_be_written():
    model, x = build("vit_cifar"), noise("vit_cifar")
    for method in ("grad_cam", "eigen_cam", "attention", "rollout", "pca", "similarity", "influence"):
        known = export.facts(explain.explain(model, x, method), 0)
        assert json.loads(json.dumps(known, allow_nan=False))["method"] == method


def test_a_class_of_number_zero_is_kept():
    result = explain.Explanation(torch.zeros(1, 2, 2), "grad_cam", "cam", target=[0], score=[0.0])
    assert export.facts(result, 0)["target"] == 0
    assert export.facts(result, 0)["score"] == 0.0
