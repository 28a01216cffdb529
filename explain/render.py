"""Draw a map: colours, and its exact place on the photo. Values stay untouched in explain/result.py."""

from collections.abc import Iterable

import matplotlib
import numpy as np
from PIL import Image

SEQUENTIAL, SIGNED = "inferno", "RdBu_r"  # even steps of value look like even steps of colour in both


def heat(values: np.ndarray, top: float | None = None, signed: bool = False) -> Image.Image:
    """Colour a map (h, w). `top` is the value that gets the last colour: pass one for maps that are to be compared.

    Without `signed` the negative part is drawn as zero; with it, blue speaks against and red for. Without `top`, the
    map's own largest value.
    """
    top = common_top([values], signed) if top is None else top
    share = values / top if top > 0 else np.zeros_like(values)
    share = (share + 1) / 2 if signed else share
    colours = matplotlib.colormaps[SIGNED if signed else SEQUENTIAL](share.clip(0, 1), bytes=True)
    return Image.fromarray(colours[..., :3])


def common_top(maps: Iterable[np.ndarray], signed: bool = False) -> float:
    """The value that gets the last colour when maps, of several pictures or models, are to be compared by eye."""
    return max((float((np.abs(values) if signed else values).max()) for values in maps), default=0.0)


def register(values: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """Lay a map (h, w) onto a photo: resample it so that its outline falls on `box`. -> (H, W), NaN outside the box.

    `size` is the photo's (width, height); `box` is (left, top, right, bottom) in its pixels, fractions and places
    beyond its edge included. Each cell's value stands at the cell's centre, with straight lines between.
    """
    (width, height), (left, top, right, bottom) = size, box
    rows = (np.arange(height) + 0.5 - top) / (bottom - top)
    cols = (np.arange(width) + 0.5 - left) / (right - left)
    out = _lines(_lines(values.astype(np.float64), rows).T, cols).T
    outside = ((rows < 0) | (rows > 1))[:, None] | ((cols < 0) | (cols > 1))[None]
    return np.where(outside, np.nan, out)


def _lines(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Interpolate along axis 0 at places from 0 to 1. (n, m) -> (len(places), m)."""
    n = len(values)
    at = (places * n - 0.5).clip(0, n - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, n - 1)
    share = (at - low)[:, None]
    return values[low] * (1 - share) + values[high] * share


def layer(
    values: np.ndarray,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    top: float | None = None,
    signed: bool = False,
) -> Image.Image:
    """Draw a map as a picture to lay over the photo. -> RGBA of `size`, see-through where the model did not look."""
    placed = register(values, size, box)
    outside = np.isnan(placed)
    return _see_through(heat(np.where(outside, 0, placed), top, signed), outside)


def feature_layer(
    values: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float], low: np.ndarray, high: np.ndarray
) -> Image.Image:
    """Draw three features (3, h, w) as red, green and blue. -> RGBA of `size`, like `layer`.

    `low` and `high` (3,) get no light and full light: the same for pictures that are to be compared.
    """
    placed = np.stack([register(feature, size, box) for feature in values], -1)
    outside = np.isnan(placed[..., 0])
    share = (np.nan_to_num(placed) - low) / np.maximum(high - low, np.finfo(float).tiny)
    return _see_through(Image.fromarray((255 * share.clip(0, 1)).astype(np.uint8)), outside)


def _see_through(picture: Image.Image, outside: np.ndarray) -> Image.Image:
    picture.putalpha(Image.fromarray(np.where(outside, 0, 255).astype(np.uint8)))
    return picture


def overlay(photo: Image.Image, layer: Image.Image, opacity: float) -> Image.Image:
    """Blend a layer over the photo of its size. Opacity from 0 to 1. -> RGB."""
    faded = layer.copy()
    faded.putalpha(layer.getchannel("A").point([round(alpha * opacity) for alpha in range(256)]))
    return Image.alpha_composite(photo.convert("RGBA"), faded).convert("RGB")
