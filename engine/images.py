"""Images as bytes: what leaves the engine is encoded where it is made, in what takes the least time."""

import io

from PIL import Image

from engine.jobs import Encoded

SHOWN = 256, 640  # least and most that the longest side, in pixels, of an image on the page may have


def fit_page(photo: Image.Image) -> Image.Image:
    """Bring a photo to a size that a page can show."""
    least, most = SHOWN
    longest = max(photo.size)
    factor = min(max(longest, least), most) / longest
    width, height = (max(1, round(side * factor)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS)


def encode_photo(image: Image.Image) -> Encoded:
    """As JPEG."""
    return _encoded(image, "jpeg", quality=88)


def encode_exact(image: Image.Image) -> Encoded:
    """Without loss: as WebP at its quickest, which takes half the time of PNG at level 1, and half the bytes."""
    return _encoded(image, "webp", lossless=True, quality=0, method=0)


def decode(image: Encoded) -> Image.Image:
    with Image.open(io.BytesIO(image.data)) as opened:
        opened.load()
        return opened.copy()


def _encoded(image: Image.Image, kind: str, **settings: int) -> Encoded:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return Encoded(kind, buffer.getvalue(), image.width, image.height)
