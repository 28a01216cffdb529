"""Grad-CAM on real photos, with an ImageNet classifier that is installed: it points at the animal, wherever that is."""

from functools import cache

import pytest
import torch

import explain
import zoo
from explain import faithfulness
from explain.steps import forward
from tools.real_photos import CHECKPOINT, path

ANIMALS = {
    "gradio/media_assets/images/cheetah.jpg": 293,
    "gradio/media_assets/images/cheetah1.jpg": 293,
    "gradio/media_assets/images/lion.jpg": 291,
}
OTHERS = (  # a dahlia, the Eiffel tower, an admiral
    "sklearn/datasets/images/flower.jpg",
    "gradio/media_assets/images/tower.jpg",
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
)


@cache
def model() -> zoo.Backbone:
    return zoo.load(CHECKPOINT)


@cache
def shuffled() -> zoo.Backbone:
    return faithfulness.randomised(model())


@cache
def image(file: str) -> torch.Tensor:
    return zoo.preprocess(zoo.open_photo(path(file)), zoo.checkpoint(CHECKPOINT))


def share(seeing: zoo.Backbone, animal: str, quarter: int) -> float:
    """How much of the map for an animal lies on it, among three photos of other things."""
    photos = [image(file) for file in OTHERS]
    whole = faithfulness.mosaic([*photos[:quarter], image(animal), *photos[quarter:]])
    found = explain.explain(seeing, whole[None], "grad_cam", target=ANIMALS[animal])
    size = whole.shape[1], whole.shape[2]
    return faithfulness.share_in_quadrant(found.raw[0], quarter, found.places(size), size)


@pytest.mark.parametrize("animal", ANIMALS)
def test_grad_cam_points_at_the_animal_and_with_shuffled_weights_it_does_not(animal):
    assert forward(model(), image(animal)[None]).argmax(1).tolist() == [ANIMALS[animal]]
    assert min(share(model(), animal, quarter) for quarter in range(4)) > 0.6
    assert sum(share(shuffled(), animal, quarter) for quarter in range(4)) / 4 < 0.4


@pytest.mark.parametrize("animal", ANIMALS)
def test_the_map_is_another_with_shuffled_weights(animal):
    maps = [
        explain.explain(m, image(animal)[None], "grad_cam", target=ANIMALS[animal]).raw for m in (model(), shuffled())
    ]
    assert abs(faithfulness.rank_correlation(*maps)) < 0.5
