"""From a photo to the image that a checkpoint expects: resize, crop or pad, then (value / 255 - mean) / std.

    photo (w, h) -> resized -> crop of checkpoint.size -> tensor (3, H, W) float32

Bit-equal to timm's evaluation transform for every recipe in the catalogue. The one exception: where resizing would make
an intermediate photo larger than BUDGET, as for a strip of 20,000 x 1 pixels, only the visible part is resampled. That
differs by rounding where it enlarges, and by a little more where it shrinks, because it averages whole pixels first.

A model that takes images of any shape (zoo/families/naflexvit.py) sees each photo whole, cut into patches:

    photos -> each resized to as many patches as the budget allows -> patches, their positions, which are padding
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalogue import Checkpoint
from zoo.layers.embed import patchify

BUDGET = 2**24  # pixels of an intermediate photo
LONGEST = 2**20  # side of a photo: PIL's table of filter weights takes 32 bytes for each pixel along it
REDUCING_GAP = 3.0  # beyond the budget, average whole pixels until the photo is this many times too large
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
DEEP_MODES = ("I", "F")  # more than 8 bits a channel: a plain conversion would clip them

Size = tuple[int, int]


@dataclass(frozen=True)
class View:
    """The region of a photo that a model sees; pixel j of the image spans [left + j * dx, left + (j + 1) * dx).

    The region may reach beyond the photo: there the model sees padding.
    """

    size: Size  # height and width of the image, in its own pixels
    left: float  # the region, in pixels of the photo
    top: float
    right: float
    bottom: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.left, self.top, self.right, self.bottom


@dataclass(frozen=True)
class _Plan:
    """The photo is resized to (width, height); the crop's corner lies at (left, top) of that, outside if negative."""

    width: int
    height: int
    left: int
    top: int


def preprocess(image: Image.Image, checkpoint: Checkpoint, size: int | Size | None = None) -> Tensor:
    """Photo -> image (3, H, W) float32. `size` (side, or height and width) replaces the checkpoint's own.

    The photo should be upright (PIL.ImageOps.exif_transpose). Raises ValueError for more than 8 bits a channel.
    """
    return normalise(seen(image, checkpoint, size), checkpoint)


def normalise(image: Image.Image, checkpoint: Checkpoint) -> Tensor:
    """The result of `seen` -> (3, H, W) float32, in the checkpoint's own units."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    mean, std = (torch.tensor(v)[:, None, None] for v in (checkpoint.mean, checkpoint.std))
    return pixels.float().div_(255).sub_(mean).div_(std)


def preprocess_native(
    images: Sequence[Image.Image], checkpoint: Checkpoint, tokens: int | None = None, patch: int = 16
) -> dict[str, Tensor]:
    """Photos of any shapes -> one batch that keeps their aspect ratios, of at most `tokens` patches each.

    `patches` (B, tokens, patch * patch * 3) float32, each photo's by rows, then zeros; `patch_coord` (B, tokens, 2),
    row and column; `patch_valid` (B, tokens), False at padding. `tokens` is what fills checkpoint.size unless given.
    Bit-equal to timm's evaluation transform and collator for NaFlexViT. Raises ValueError as `preprocess` does.
    """
    tokens = checkpoint.size[0] // patch * (checkpoint.size[1] // patch) if tokens is None else tokens
    whole = replace(checkpoint, mode="squash", crop=1.0)
    patches = torch.zeros(len(images), tokens, patch * patch * 3)
    coord = torch.zeros(len(images), tokens, 2, dtype=torch.long)
    valid = torch.zeros(len(images), tokens, dtype=torch.bool)
    for i, image in enumerate(images):
        height, width = size_within(image.size, tokens, patch)
        positions = torch.cartesian_prod(torch.arange(height // patch), torch.arange(width // patch))
        patches[i, : len(positions)] = patchify(preprocess(image, whole, (height, width))[None], patch)[0]
        coord[i, : len(positions)] = positions
        valid[i, : len(positions)] = True
    return {"patches": patches, "patch_coord": coord, "patch_valid": valid}


def size_within(image_size: Size, tokens: int, patch: int = 16) -> Size:
    """Height and width, multiples of `patch`, of the largest image of this shape with at most `tokens` patches.

    `image_size` is (width, height). Each side is rounded up to whole patches. Raises ValueError if one patch is
    already too many.
    """

    def grid(ratio: float) -> Size:
        width, height = (max(1, math.ceil(side * ratio / patch)) for side in image_size)
        return height, width

    # Bisected to this precision, as the reference does: an exact answer would sometimes be a patch larger.
    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if math.prod(grid(middle)) <= tokens else (low, middle)
    rows, columns = grid(low)
    if rows * columns > tokens:
        width, height = image_size
        raise ValueError(f"A photo of {width}x{height} cannot be shown in {tokens} patches: allow more.")
    return rows * patch, columns * patch


def view(image_size: Size, checkpoint: Checkpoint, size: int | Size | None = None) -> View:
    """The region of a photo that the model sees. `image_size` is (width, height), as PIL's `image.size`."""
    height, width = _pair(size or checkpoint.size)
    plan = _plan(image_size, checkpoint, (height, width))
    dx, dy = image_size[0] / plan.width, image_size[1] / plan.height
    right, bottom = plan.left + width, plan.top + height
    return View((height, width), plan.left * dx, plan.top * dy, right * dx, bottom * dy)


def seen(image: Image.Image, checkpoint: Checkpoint, size: int | Size | None = None) -> Image.Image:
    """The image that the model sees, in RGB, before its colours are normalised."""
    if image.mode.startswith(DEEP_MODES):
        raise ValueError(f"A photo of mode {image.mode!r} has more than 8 bits a channel: scale it to 8 bits first.")
    image = image if image.mode == "RGB" else image.convert("RGB")
    height, width = _pair(size or checkpoint.size)
    plan = _plan(image.size, checkpoint, (height, width))
    box = (plan.left, plan.top, plan.left + width, plan.top + height)
    inside = (max(box[0], 0), max(box[1], 0), min(box[2], plan.width), min(box[3], plan.height))
    visible = _resized_part(image, plan, inside, FILTERS[checkpoint.interpolation])
    if visible.size == (width, height):
        return visible
    border = tuple(round(255 * m) for m in checkpoint.mean) if checkpoint.mode == "border" else (0, 0, 0)
    padded = Image.new("RGB", (width, height), border)
    padded.paste(visible, (inside[0] - plan.left, inside[1] - plan.top))
    return padded


def _pair(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else size


def _plan(image_size: Size, checkpoint: Checkpoint, size: Size) -> _Plan:
    (iw, ih), (h, w) = image_size, size
    H, W = math.floor(h / checkpoint.crop), math.floor(w / checkpoint.crop)
    if checkpoint.mode == "squash":
        width, height = W, H
    elif checkpoint.mode == "center" and H == W:
        # The long side is rounded down here and to the nearest integer below, as in the reference.
        width, height = (W, int(H * ih / iw)) if iw <= ih else (int(W * iw / ih), H)
    else:
        ratio = (max if checkpoint.mode == "border" else min)(ih / H, iw / W)
        width, height = max(1, round(iw / ratio)), max(1, round(ih / ratio))
    return _Plan(width, height, _start(width, w), _start(height, h))


def _start(length: int, crop: int) -> int:
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)


def _resized_part(
    image: Image.Image, plan: _Plan, part: tuple[int, int, int, int], resample: Image.Resampling
) -> Image.Image:
    """Resize the photo to the plan and cut `part` out. PIL's intermediate result is plan.width x image.height."""
    (iw, ih), whole = image.size, (plan.width, plan.height)
    if plan.width * max(plan.height, ih) <= BUDGET and max(iw, ih) <= LONGEST:
        resized = image if image.size == whole else image.resize(whole, resample)
        return resized.crop(part)
    left, top, right, bottom = part
    dx, dy = iw / plan.width, ih / plan.height
    box = (left * dx, top * dy, right * dx, bottom * dy)
    return image.resize((right - left, bottom - top), resample, box, reducing_gap=REDUCING_GAP)
