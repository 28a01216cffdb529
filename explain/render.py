"""Draw a map: its colours, and its exact position on the photo. The values in explain/result.py are not changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image

from zoo.cells import Axis, Cells

SEQUENTIAL, SIGNED = "inferno", "RdBu_r"  # equal steps of value look like equal steps of colour in both


def heat(values: np.ndarray, top: float | None = None, signed: bool = False) -> Image.Image:
    """Colour a map (h, w). `top` is the value that gets the last colour: pass the same one for maps to be compared.

    Without `signed`, negative values are drawn as zero; with it, they are blue and positive values red. Without `top`,
    the map's own largest value gets the last colour.
    """
    top = common_top([values], signed) if top is None else top
    share = values / top if top > 0 else np.zeros_like(values)
    share = (share + 1) / 2 if signed else share
    colours = matplotlib.colormaps[SIGNED if signed else SEQUENTIAL](share.clip(0, 1), bytes=True)
    return Image.fromarray(colours[..., :3])


def common_top(maps: Iterable[np.ndarray], signed: bool = False) -> float:
    """The value that gets the last colour when maps of several images or models are to be compared by eye."""
    return max((float((np.abs(values) if signed else values).max()) for values in maps), default=0.0)


@dataclass(frozen=True)
class Placement:
    """Where the image that a model saw lies on the photo."""

    size: tuple[int, int]  # width and height of the photo in its pixels
    box: tuple[float, float, float, float]  # left, top, right, bottom of what the model saw; may exceed the photo
    seen: tuple[int, int]  # height and width of the image that the model saw, in the image's pixels


def register(values: np.ndarray, cells: Cells, placement: Placement) -> np.ndarray:
    """Lay a map (h, w) onto a photo. -> (H, W), NaN where the model saw nothing.

    Each cell's value is placed where the cell looks. Values in between are interpolated linearly; beyond the outermost
    cells they stay constant.
    """
    (width, height), (left, top, right, bottom) = placement.size, placement.box
    rows = (np.arange(height) + 0.5 - top) / (bottom - top)
    cols = (np.arange(width) + 0.5 - left) / (right - left)
    out = sample(values, cells, rows * placement.seen[0], cols * placement.seen[1])
    outside = ((rows < 0) | (rows > 1))[:, None] | ((cols < 0) | (cols > 1))[None]
    return np.where(outside, np.nan, out)


def sample(values: np.ndarray, cells: Cells, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Read a map (h, w) at rows and columns of the image, in its pixels. -> (len(rows), len(cols)) float64."""
    return _lines(_lines(values.astype(np.float64), cells.down, rows).T, cells.across, cols).T


def _lines(values: np.ndarray, axis: Axis, pixels: np.ndarray) -> np.ndarray:
    """Interpolate along axis 0. (n, m) -> (len(pixels), m)."""
    n = len(values)
    at = ((pixels - axis.start) / axis.step).clip(0, n - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, n - 1)
    share = (at - low)[:, None]
    return values[low] * (1 - share) + values[high] * share


def layer(
    values: np.ndarray, cells: Cells, placement: Placement, top: float | None = None, signed: bool = False
) -> Image.Image:
    """Draw a map as a layer for the photo. -> RGBA of the photo's size, transparent where the model saw nothing."""
    placed = register(values, cells, placement)
    outside = np.isnan(placed)
    return _see_through(heat(np.where(outside, 0, placed), top, signed), outside)


def feature_layer(
    values: np.ndarray, cells: Cells, placement: Placement, low: np.ndarray, high: np.ndarray
) -> Image.Image:
    """Draw three features (3, h, w) as red, green and blue. -> RGBA, like `layer`.

    `low` and `high` (3,) are the values drawn dark and fully bright: pass the same for images to be compared.
    """
    placed = np.stack([register(feature, cells, placement) for feature in values], -1)
    outside = np.isnan(placed[..., 0])
    share = (np.nan_to_num(placed) - low) / np.maximum(high - low, np.finfo(float).tiny)
    return _see_through(Image.fromarray((255 * share.clip(0, 1)).astype(np.uint8)), outside)


def paint(
    values: np.ndarray, cells: Cells, placement: Placement, group: Sequence[np.ndarray], signed: bool
) -> tuple[Image.Image, float | None, float | None]:
    """Draw a map as a layer, on the colour scale of the group; also return the values of that scale's ends."""
    if values.ndim == 3:
        low, high = np.quantile(group, (0.02, 0.98), axis=(0, 2, 3))
        return feature_layer(values, cells, placement, low, high), None, None
    top = max(0.0, common_top(group, signed))  # a map without a positive value is drawn as zero
    low = 0.0 - top if signed else 0.0  # and not -0.0
    return layer(values, cells, placement, top, signed), low, top


def _see_through(image: Image.Image, outside: np.ndarray) -> Image.Image:
    image.putalpha(Image.fromarray(np.where(outside, 0, 255).astype(np.uint8)))
    return image


def overlay(photo: Image.Image, layer: Image.Image, opacity: float) -> Image.Image:
    """Blend a layer over a photo of the same size. Opacity from 0 to 1. -> RGB."""
    faded = layer.convert("RGBA")  # a copy; a layer that hides nothing may come without alpha
    faded.putalpha(faded.getchannel("A").point([round(alpha * opacity) for alpha in range(256)]))
    return Image.alpha_composite(photo.convert("RGBA"), faded).convert("RGB")
