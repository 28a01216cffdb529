"""A photo changed on purpose, to see what a model's answer hangs on."""

import io
from dataclasses import dataclass

from PIL import Image, ImageFilter

import zoo
from engine.jobs import EngineError, Photo
from zoo.photo import decoded

SIDE = 1024  # pixels of the longer side; a larger photo is reduced before it is changed
GREY = (124, 116, 104)  # ImageNet's mean colour


@dataclass(frozen=True)
class Change:
    """What is done to a photo, in the order of the fields; nothing with the values that they begin with."""

    part: float = 100.0  # percent of both sides that are kept, in the middle
    turn: float = 0.0  # degrees, anticlockwise; the corners become grey
    blur: float = 0.0  # standard deviation, in percent of the shorter side
    box: float = 0.0  # side of a grey square in the middle, in percent of the shorter side
    quality: int = 100  # of a JPEG file; 100: not compressed


def changed(photo: Photo, change: Change) -> Photo:
    """The photo after a change, as a file again. Raises EngineError if it cannot be read."""
    if change == Change():
        return photo
    try:
        with decoded(photo.data, photo.name) as opened:
            image = opened.copy()
    except zoo.PhotoError as error:
        raise EngineError(str(error)) from error
    image.thumbnail((SIDE, SIDE))
    image = image.crop(_middle(image, *(side * change.part / 100 for side in image.size)))
    if change.turn:
        image = image.rotate(change.turn, Image.Resampling.BICUBIC, fillcolor=GREY)
    short = min(image.size)
    image = image.filter(ImageFilter.GaussianBlur(short * change.blur / 100))
    if side := round(short * change.box / 100):
        image.paste(GREY, _middle(image, side, side))
    buffer = io.BytesIO()
    if change.quality < 100:
        image.save(buffer, "jpeg", quality=change.quality)
    else:
        image.save(buffer, "png", compress_level=1)
    return Photo(photo.name, buffer.getvalue())


def _middle(image: Image.Image, width: float, height: float) -> tuple[int, int, int, int]:
    """The box of this size, one pixel at least, in the middle of an image."""
    across, down = max(1, round(width)), max(1, round(height))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    return left, top, left + across, top + down
