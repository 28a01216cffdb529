"""Open whatever a person drops in as an upright RGB picture, or say in one sentence why not."""

import io
import threading
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Exif
from PIL.Image import Transpose

MEGAPIXELS = 40  # most phones' full picture; Pillow takes 160 MB for it, and as much again for each step on the way
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")  # none that starts other programs
TURNS = {  # EXIF's orientation: what stands the stored rows upright
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
OTHER_STILL_BRANDS = (b"avif", b"avis", b"crx ")  # the rest of what begins like an MP4 and is none
VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV\x01", b"OggS")  # Matroska, MPEG, ...
EMPTY = "is empty: copy or download it again."
WHITES = {"F": (1,), "I": (255, 65535)}  # 32 bits a pixel have no agreed white: the least of these that is never passed

# Pillow warns of odd metadata, and warnings can only be silenced for all threads at once. One picture at a time also
# keeps the memory of many visitors' pictures down to one.
_ONE_AT_A_TIME = threading.Lock()


class PhotoError(Exception):
    """A file that cannot be shown; the message is one sentence for the person who chose it."""


def open_photo(path: str | Path) -> Image.Image:
    """Read a picture file: the first frame, upright, in RGB, over white where it is transparent, without metadata.

    Grey and colour of more than 8 bits are scaled to 8. Raises PhotoError, whose one sentence names the file.
    """
    path = Path(path)
    with _file(path) as file:
        return _decoded(file, path.name)


def decode_photo(data: bytes, name: str) -> Image.Image:
    """Read a photo from a file's bytes, as `open_photo` does; `name` is what its sentences call it."""
    if not data:
        raise PhotoError(f"{name!r} {EMPTY}")
    return _decoded(io.BytesIO(data), name)


def _decoded(file: BinaryIO, name: str) -> Image.Image:
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _opened(file, name) as image:
            try:
                # No draft(): decoding a JPEG at half size takes half the time, but moves pixels by a level on average.
                image.load()
                return _upright(_rgb(image), _orientation(image))
            except Exception as error:  # on a broken file, Pillow's readers raise whatever they stumble over
                raise PhotoError(f"{name!r} is damaged or cut short: it cannot be decoded to its end.") from error


def _file(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise PhotoError(f"{path.name!r} is a folder, not a picture: choose a file.")
        if not path.is_file():
            raise PhotoError(f"{path.name!r} is not there: choose the picture again.")
        if not path.stat().st_size:
            raise PhotoError(f"{path.name!r} {EMPTY}")
        return path.open("rb")
    except OSError as error:
        raise PhotoError(f"{path.name!r} cannot be read: check that you may open it.") from error


def _opened(file: BinaryIO, name: str) -> Image.Image:
    """Read the header, and refuse by its size before anything is decoded."""
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
        return "is a HEIC picture, as iPhones take them, which cannot be read here: convert it to JPEG first."
    mp4 = start[4:8] in (b"ftyp", b"moov", b"mdat") and start[8:] not in OTHER_STILL_BRANDS
    avi = start.startswith(b"RIFF") and start[8:] == b"AVI "
    if mp4 or avi or start.startswith(VIDEO_STARTS):
        return "is a video: take a still picture from it first."
    return "is damaged or no picture of a known kind: choose a JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF file."


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(Exif.Orientation, 1)
    except Exception:  # broken metadata must not hide a good picture
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _rgb(image: Image.Image) -> Image.Image:
    """A new picture, which has no metadata."""
    if image.mode in WHITES or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        matte = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(matte, image)
    image = image.convert("RGB")  # CMYK: Pillow has undone Adobe's inversion already
    image.info = {}
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale so that white is 255: in 16 bits, white is 65535. Black is 0, or the least value where that is below it."""
    values = np.array(image, dtype=np.float32)
    finite = np.isfinite(values)
    least, most = (float(f(values, where=finite, initial=0)) for f in (np.min, np.max))
    white = next((w for w in WHITES.get(image.mode, (65535,)) if w >= most), most)
    np.nan_to_num(values, copy=False, nan=least, posinf=white, neginf=least)
    values -= least
    values *= 255 / (white - least)
    return Image.fromarray(np.rint(values, out=values).clip(0, 255).astype(np.uint8))
