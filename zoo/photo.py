"""Open any photo that a person drops in as upright RGB, or say in one sentence why it cannot be opened."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Exif
from PIL.Image import Transpose

MEGAPIXELS = 40  # most phones' full size; Pillow needs 160 MB for it, and as much again for each intermediate step
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")  # decoded by Pillow itself
TURNS = {  # EXIF's orientation: what turns the stored rows upright
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
OTHER_STILL_BRANDS = (b"avif", b"avis", b"crx ")  # the other files that begin like an MP4 and are not videos
VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV\x01", b"OggS")  # Matroska, MPEG, ...
EMPTY = "is empty: copy or download it again."
WHITES = {"F": (1,), "I": (255, 65535)}  # 32-bit pixels have no agreed white: the least of these that no pixel exceeds


class PhotoError(Exception):
    """A file that cannot be opened; the message is one sentence for the person who chose it."""


class _Silence:
    """Silences Pillow's warnings about odd metadata.

    Warnings can only be silenced for all threads at once: the first to enter does it, the last to leave undoes it.
    """

    def __init__(self):
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


class _Room:
    """Memory for a number of pixels, shared by the photos that are decoded at the same time."""

    def __init__(self, pixels: int):
        self._free, self._changed = pixels, threading.Condition()
        self._next = threading.Lock()  # held by the one that waits for room, so that nobody overtakes a large photo

    @contextmanager
    def share(self, pixels: int) -> Iterator[None]:
        with self._next, self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify()


_SILENCE = _Silence()
_ROOM = _Room(MEGAPIXELS * 10**6)  # so many visitors' photos take no more memory than one of the largest


def open_photo(path: str | Path) -> Image.Image:
    """Read a photo from a file: the first frame, upright, in RGB, on white where it is transparent, without metadata.

    More than 8 bits a channel are scaled to 8. Raises PhotoError, whose one sentence names the file.
    """
    path = Path(path)
    with _file(path) as file, _decoded(file, path.name) as image:
        return image if type(image) is Image.Image else image.copy()  # a reader's own class keeps the file's metadata


@contextmanager
def decoded(data: bytes, name: str) -> Iterator[Image.Image]:
    """Lend a photo, read from a file's bytes as `open_photo` does; `name` is what error messages call it.

    Photos of more than MEGAPIXELS together wait for each other, so a thread must not borrow two at a time.
    """
    if not data:
        raise PhotoError(f"{name!r} {EMPTY}")
    with _decoded(io.BytesIO(data), name) as image:
        yield image


@contextmanager
def _decoded(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    with _SILENCE:
        opened = _opened(file, name)
    with opened, _ROOM.share(opened.width * opened.height):
        try:
            with _SILENCE:
                image = _upright(opened)
        except Exception as error:  # on a broken file, Pillow's readers raise errors of any type
            raise PhotoError(f"{name!r} is damaged or cut short: copy or download it again.") from error
        yield image


def _upright(image: Image.Image) -> Image.Image:
    # No draft(), which would save a JPEG of 12 megapixels 15 to 35 ms of decoding: even at twice the size that is
    # resized to, it moves the 224 to 448 pixels that a model sees by 0.2 to 0.5 grey levels on average and 6 at most,
    # and an EfficientNet-Lite0's probabilities by up to 0.013. Then they would no longer be the reference's.
    image.load()
    turn = TURNS.get(_orientation(image))
    image = _rgb(image)
    image = image if turn is None else image.transpose(turn)
    image.info = {}
    return image


def _file(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise PhotoError(f"{path.name!r} is a folder, not a photo: choose a file.")
        if not path.is_file():
            raise PhotoError(f"{path.name!r} is not there: choose the photo again.")
        if not path.stat().st_size:
            raise PhotoError(f"{path.name!r} {EMPTY}")
        return path.open("rb")
    except OSError as error:
        raise PhotoError(f"{path.name!r} cannot be read: check that you may open it.") from error


def _opened(file: BinaryIO, name: str) -> Image.Image:
    """Read the header, and refuse a photo that is too large before anything is decoded."""
    Image.init()
    too_large = f"more than the {MEGAPIXELS} megapixels that are allowed here: make it smaller first."
    try:
        image = Image.open(file, formats=[f for f in FORMATS if f in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{name!r} has {too_large}") from error
    except Exception as error:
        raise PhotoError(f"{name!r} {_why_unknown(file)}") from error
    width, height = image.size
    if width * height > MEGAPIXELS * 10**6:
        raise PhotoError(f"{name!r} has {width} x {height} pixels, {too_large}")
    return image


def _why_unknown(file: BinaryIO) -> str:
    file.seek(0)
    start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:] in HEIC_BRANDS:
        return "is a HEIC photo, as iPhones take them, which cannot be read here: convert it to JPEG first."
    mp4 = start[4:8] in (b"ftyp", b"moov", b"mdat") and start[8:] not in OTHER_STILL_BRANDS
    avi = start.startswith(b"RIFF") and start[8:] == b"AVI "
    if mp4 or avi or start.startswith(VIDEO_STARTS):
        return "is a video: save one frame of it as a photo first."
    return "is damaged or not a photo in a known format: choose a JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF file."


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(Exif.Orientation, 1)
    except Exception:  # broken metadata must not hide a good photo
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB; what is RGB already is not copied."""
    if image.mode in WHITES or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        matte = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(matte, image)
    return image if image.mode == "RGB" else image.convert("RGB")  # CMYK: Pillow has undone Adobe's inversion


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale so that white is 255; in 16 bits, white is 65535. Black is 0, or the least value if that is negative."""
    values = np.array(image, dtype=np.float32)
    finite = np.isfinite(values)
    least, most = (float(f(values, where=finite, initial=0)) for f in (np.min, np.max))
    white = next((w for w in WHITES.get(image.mode, (65535,)) if w >= most), most)
    np.nan_to_num(values, copy=False, nan=least, posinf=white, neginf=least)
    values -= least
    values *= 255 / (white - least)
    return Image.fromarray(np.rint(values, out=values).clip(0, 255).astype(np.uint8))
