"""Preprocessed images equal the reference's bit for bit, and the view says which part of the photo they show."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tools.golden_preprocess import digest, noise_images, recipes
from zoo.catalogue import checkpoint
from zoo.preprocess import View, preprocess, seen, view

with (Path(__file__).parents[1] / "goldens" / "preprocess" / "digests.tsv").open() as _file:
    GOLDENS = {(row["name"], row["moment"]): row for row in csv.DictReader(_file, delimiter="\t")}
RECIPES = {key: c for key, c in recipes().items() if not c.bundled}
IMAGES = noise_images()
CENTER = checkpoint("resnet50.tv_in1k")  # 224 of 256, bilinear
SQUASH = replace(CENTER, mode="squash", crop=1.0)
SMALL = replace(CENTER, crop=1.15)  # resized to less than the crop, then padded
BORDER = replace(CENTER, mode="border", crop=1.0, mean=(0.5, 0.5, 0.5))


def test_every_recipe_has_a_golden():
    assert set(RECIPES) == set(GOLDENS)


@pytest.mark.parametrize("key", GOLDENS, ids="-".join)
def test_bit_equal_to_the_reference(key):
    made = {shape: digest(preprocess(image, RECIPES[key])) for shape, image in IMAGES.items()}
    assert made == {shape: GOLDENS[key][shape] for shape in IMAGES}


def test_view_of_a_center_crop():
    assert view((512, 256), CENTER) == View((224, 224), left=144, top=16, right=368, bottom=240)


def test_view_of_a_squashed_image_is_the_whole_photo():
    assert view((500, 333), SQUASH).box == pytest.approx((0, 0, 500, 333))


def test_view_of_a_padded_image_exceeds_the_photo():
    assert view((448, 224), BORDER).box == (0, -112, 448, 336)


@pytest.mark.parametrize("image_size", [(240, 180), (180, 240), (200, 200), (250, 90)])
@pytest.mark.parametrize("recipe", [CENTER, SQUASH, BORDER, SMALL], ids=["center", "squash", "border", "small"])
def test_view_says_where_each_pixel_comes_from(recipe, image_size):
    width, height = image_size
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1], ramp[..., 2] = np.arange(width), np.arange(height)[:, None], 255
    pixels = np.asarray(seen(Image.fromarray(ramp), recipe)).astype(float)
    region = view(image_size, recipe)
    h, w = region.size
    x = region.left + (np.arange(w) + 0.5) * (region.right - region.left) / w - 0.5
    y = region.top + (np.arange(h) + 0.5) * (region.bottom - region.top) / h - 0.5
    inner_x, inner_y = (x > 3) & (x < width - 4), (y > 3) & (y < height - 4)
    inner = pixels[inner_y][:, inner_x]
    assert inner.size and (inner[..., 2] == 255).all()
    assert np.abs(inner[..., 0] - x[inner_x]).max() <= 1
    assert np.abs(inner[..., 1] - y[inner_y][:, None]).max() <= 1


def test_padding_is_black_and_in_border_mode_the_mean():
    image = Image.new("RGB", (100, 20), (9, 9, 9))
    assert seen(image, BORDER).getpixel((0, 0)) == (128, 128, 128)
    assert seen(image, SMALL).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("size", [(20000, 1), (1, 20000), (1, 1), (2, 1), (30_000_000, 1)])
@pytest.mark.parametrize("recipe", [CENTER, SQUASH, BORDER], ids=lambda c: c.mode)
def test_extreme_shapes(size, recipe):
    x = preprocess(Image.new("RGB", size, (255, 255, 255)), recipe)
    assert x.shape == (3, 224, 224)
    white = (1 - torch.tensor(recipe.mean)) / torch.tensor(recipe.std)
    torch.testing.assert_close(x.amax((1, 2)), white, rtol=0, atol=0.02)  # averaging millions of pixels loses a level


def test_beyond_the_budget_only_rounding_differs(monkeypatch):
    image = IMAGES["500x333"]
    exact = np.asarray(seen(image, CENTER)).astype(int)
    monkeypatch.setattr(sys.modules[preprocess.__module__], "BUDGET", 0)
    cheap = np.asarray(seen(image, CENTER)).astype(int)
    assert 0 < np.abs(cheap - exact).max() <= 1


def test_a_given_size_replaces_the_checkpoints():
    image = IMAGES["500x333"]
    assert preprocess(image, CENTER, 96).shape == (3, 96, 96)
    assert preprocess(image, CENTER, (64, 96)).shape == (3, 64, 96)
    assert view(image.size, CENTER, (64, 96)).size == (64, 96)
    torch.testing.assert_close(preprocess(image, CENTER, 96), preprocess(image, replace(CENTER, size=(96, 96))))


def test_values_are_normalised():
    x = preprocess(Image.new("RGB", (300, 300), (255, 0, 51)), CENTER)
    expected = (torch.tensor([1.0, 0.0, 0.2]) - torch.tensor(CENTER.mean)) / torch.tensor(CENTER.std)
    torch.testing.assert_close(x[:, 7, 9], expected)
    assert x.dtype == torch.float32


def test_other_modes():
    grey = Image.new("L", (50, 40), 200)
    assert torch.equal(preprocess(grey, CENTER), preprocess(grey.convert("RGB"), CENTER))
    with pytest.raises(ValueError, match="more than 8 bits"):
        preprocess(Image.new("I;16", (50, 40)), CENTER)
