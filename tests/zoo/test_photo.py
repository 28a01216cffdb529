"""Every kind of photo file gives the RGB pixels that it means, and every other file one clear sentence."""

import struct
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import zoo.photo as module
from zoo.photo import PhotoError, decoded, open_photo

ORANGE = (240, 120, 20)
NOISE = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)  # no symmetry
UPRIGHT = {  # EXIF's definition: where the stored first row and column lie in the upright photo
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def pixels(path) -> np.ndarray:
    image = open_photo(path)
    assert type(image) is Image.Image
    assert image.mode == "RGB"
    assert not image.info
    assert not image.getexif()
    return np.asarray(image)


def saved(tmp_path, image: Image.Image, name: str = "photo.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def written(tmp_path, content: bytes, name: str = "photo.jpg"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def png(width: int, height: int, depth: int, kind: int, data: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG by its specification, `data` its rows. kind: 0 grey, 2 RGB, 3 palette, 4 grey and alpha."""
    stride = width * depth * {0: 1, 2: 3, 3: 1, 4: 2}[kind] // 8
    rows = b"".join(b"\0" + data[i : i + stride] for i in range(0, len(data), stride))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body)) for tag, body in chunks
    )


def tiff(width: int, height: int, tags: dict[int, int], data: bytes) -> bytes:
    """A little-endian TIFF in one strip by its specification; `tags` are added to the size and the strip."""
    tags = {256: width, 257: height, 259: 1, 278: height, 279: len(data)} | tags
    tags[273] = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + data


def sentence(path) -> str:
    with pytest.raises(PhotoError) as caught:
        open_photo(path)
    text = str(caught.value)
    assert text.startswith(repr(path.name))
    assert str(path.parent) not in text
    assert text.endswith(".")
    return text


def test_rgb_comes_out_as_it_is(tmp_path):
    for name in ("a.png", "a.bmp", "a.tiff", "a.ppm"):
        assert (pixels(saved(tmp_path, Image.fromarray(NOISE), name)) == NOISE).all()
    assert (pixels(saved(tmp_path, Image.fromarray(NOISE), "a.webp", lossless=True)) == NOISE).all()
    assert (pixels(str(saved(tmp_path, Image.fromarray(NOISE), "a.jp2"))) == NOISE).all()


def test_jpeg_is_decoded_in_full(tmp_path):
    image = Image.effect_noise((640, 480), 80).convert("RGB")
    path = saved(tmp_path, image, "a.jpg", quality=90)
    with Image.open(path) as expected:
        assert (pixels(path) == np.asarray(expected)).all()


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.png", "a.tiff", "lzw.tiff", "a.webp"])
def test_stands_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"a.webp": {"lossless": True}, "lzw.tiff": {"compression": "tiff_lzw"}}.get(name, {})
    path = saved(tmp_path, Image.fromarray(NOISE), name, exif=exif, **options)
    assert np.array_equal(pixels(path), UPRIGHT[orientation](NOISE))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.jpg", "a.avif"])
def test_stands_upright_with_loss(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    big = NOISE.repeat(32, 0).repeat(32, 1)
    path = saved(tmp_path, Image.fromarray(big), name, exif=exif, quality=100, subsampling="4:4:4")
    made = pixels(path)[16::32, 16::32].astype(int)
    assert np.abs(made - UPRIGHT[orientation](NOISE)).max() <= 4


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_unknown_orientation_stays_as_stored(tmp_path, value):
    exif = Image.Exif()
    exif[274] = value
    assert (pixels(saved(tmp_path, Image.fromarray(NOISE), exif=exif)) == NOISE).all()


@pytest.mark.parametrize(
    "entries", [b"\x05\0", b"\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0", b"\xff\xff" + b"\x9c" * 30, b""]
)
def test_broken_exif_does_not_hide_the_photo(tmp_path, entries):
    path = saved(tmp_path, Image.new("RGB", (16, 8), ORANGE), "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0" + entries)
    content = path.read_bytes()
    start = content.index(b"JFIF") - 4
    path.write_bytes(content[:start] + content[start + 18 :])  # without JFIF's header, Pillow reads EXIF as it opens
    assert np.abs(pixels(path).reshape(-1, 3) - np.array(ORANGE)).max() <= 3


def test_16_bit_grey_is_scaled(tmp_path):
    values = np.array([[0, 128, 129, 257, 32767, 65535]], np.uint16)
    expected = [0, 0, 1, 1, 127, 255]
    grey = png(6, 1, 16, 0, values.astype(">u2").tobytes())
    assert (pixels(written(tmp_path, grey))[0] == np.array(expected)[:, None]).all()
    for name, order in (("a.tiff", "<u2"), ("b.tiff", ">u2")):
        path = saved(tmp_path, Image.fromarray(values.astype(order)), name)
        assert pixels(path)[0, :, 0].tolist() == expected
    pgm = b"P5 6 1 65535\n" + values.astype(">u2").tobytes()
    assert pixels(written(tmp_path, pgm, "a.pgm"))[0, :, 0].tolist() == expected


def test_16_bit_colour_is_scaled(tmp_path):
    values = np.array([[0, 0x8080, 0xFFFF], [0x1234, 0xFF00, 0x00FF]], np.uint16)
    expected = [[0, 0x80, 0xFF], [0x12, 0xFF, 0x00]]
    assert pixels(written(tmp_path, png(2, 1, 16, 2, values.astype(">u2").tobytes())))[0].tolist() == expected
    tags = {258: 16, 262: 2, 277: 3}
    assert pixels(written(tmp_path, tiff(2, 1, tags, values.tobytes()), "a.tiff"))[0].tolist() == expected


def test_16_bit_alpha_is_over_white(tmp_path):
    values = np.array([[0, 0xFFFF], [0, 0], [0x4040, 0xFFFF]], ">u2")
    assert pixels(written(tmp_path, png(3, 1, 16, 4, values.tobytes())))[0, :, 0].tolist() == [0, 255, 0x40]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([0, 0.2, 1]), [0, 51, 255]),  # white is 1
        (np.float32([0, 1, 4]), [0, 64, 255]),  # white is the greatest
        (np.float32([-1, 0, 1]), [0, 128, 255]),
        (np.float32([np.nan, np.inf, 1, -np.inf]), [0, 255, 255, 0]),
        (np.float32([0, 0, 0]), [0, 0, 0]),
        (np.int32([0, 7, 255]), [0, 7, 255]),
        (np.int32([0, 257, 65535]), [0, 1, 255]),
        (np.int32([0, 10**9, 2 * 10**9]), [0, 128, 255]),
    ],
)
def test_32_bits(tmp_path, values, expected):
    path = saved(tmp_path, Image.fromarray(values[None]), "a.tiff")
    assert pixels(path)[0].tolist() == [[v] * 3 for v in expected]


@pytest.mark.parametrize(
    ("ink", "expected"),
    [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.tiff"])  # Pillow writes and reads CMYK JPEG inverted, as Adobe does
def test_cmyk(tmp_path, name, ink, expected):
    path = saved(tmp_path, Image.new("CMYK", (16, 16), ink), name)
    if name == "a.jpg":
        assert b"Adobe" in path.read_bytes()
    assert np.abs(pixels(path).astype(int) - expected).max() <= 2


def test_palette_and_one_bit_and_grey(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, *ORANGE])
    image.putpixel((1, 0), 1)
    assert pixels(saved(tmp_path, image))[0].tolist() == [[1, 2, 3], list(ORANGE)]
    assert pixels(saved(tmp_path, Image.new("1", (9, 2), 1), "b.png")).min() == 255
    assert pixels(saved(tmp_path, Image.new("L", (9, 2), 77), "c.png"))[1, 8].tolist() == [77, 77, 77]


def test_transparency_is_over_white(tmp_path):
    colours = [(0, 0, 0, 0), (0, 0, 0, 255), (*ORANGE, 255), (0, 100, 200, 51)]
    image = Image.new("RGBA", (4, 1))
    image.putdata(colours)
    expected = [[255] * 3, [0] * 3, list(ORANGE), [204, 224, 244]]  # 255 - (255 - v) * 51 / 255
    for name, options in (("a.png", {}), ("a.webp", {"lossless": True, "exact": True}), ("a.tiff", {})):
        assert pixels(saved(tmp_path, image, name, **options))[0].tolist() == expected
    grey = Image.new("LA", (2, 1), (0, 51))
    grey.putpixel((1, 0), (9, 255))
    assert pixels(saved(tmp_path, grey))[0].tolist() == [[204] * 3, [9] * 3]


def test_palette_with_transparency(tmp_path):
    palette = (b"PLTE", bytes([0, 0, 0, *ORANGE, 0, 0, 0]))
    several = png(3, 1, 8, 3, bytes([0, 1, 2]), palette, (b"tRNS", bytes([0, 255, 51])))
    assert pixels(written(tmp_path, several))[0].tolist() == [[255] * 3, list(ORANGE), [204] * 3]
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, *ORANGE])
    image.putpixel((1, 0), 1)
    assert pixels(saved(tmp_path, image, "a.gif", transparency=0))[0].tolist() == [[255] * 3, list(ORANGE)]


def test_one_colour_named_transparent(tmp_path):
    rgb = png(2, 1, 8, 2, bytes([1, 2, 3, *ORANGE]), (b"tRNS", struct.pack(">HHH", 1, 2, 3)))
    assert pixels(written(tmp_path, rgb))[0].tolist() == [[255] * 3, list(ORANGE)]
    grey = png(2, 1, 8, 0, bytes([5, 6]), (b"tRNS", struct.pack(">H", 5)))
    assert pixels(written(tmp_path, grey))[0].tolist() == [[255] * 3, [6] * 3]


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tiff"])
def test_animation_shows_its_first_frame(tmp_path, name):
    first, *others = (Image.new("RGB", (8, 8), c) for c in ("red", "lime", "blue"))
    options = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path, first, name, save_all=True, append_images=others, **options)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert (pixels(path) == (255, 0, 0)).all()


def test_extreme_shapes(tmp_path):
    assert pixels(saved(tmp_path, Image.new("RGB", (1, 1), ORANGE))).tolist() == [[list(ORANGE)]]
    ramp = (np.arange(40000) % 251).astype(np.uint8).reshape(2, 20000)
    assert (pixels(saved(tmp_path, Image.fromarray(ramp)))[..., 1] == ramp).all()


def test_the_suffix_does_not_matter(tmp_path):
    path = saved(tmp_path, Image.fromarray(NOISE)).rename(tmp_path / "photo.jpg")
    assert (pixels(path) == NOISE).all()


@pytest.mark.parametrize("side", [6400, 12000, 60000])  # above our limit, above Pillow's warning, above Pillow's error
def test_bomb_is_refused_by_its_header(tmp_path, side):
    path = written(tmp_path, png(side, side, 8, 2, b""), "bomb.png")
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    assert "more than the 40 megapixels" in sentence(path)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert filters == warnings.filters


def test_the_limit_itself_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEGAPIXELS", 1)
    assert pixels(saved(tmp_path, Image.new("L", (2000, 500)))).shape == (500, 2000, 3)
    assert "2000 x 501 pixels" in sentence(saved(tmp_path, Image.new("L", (2000, 501))))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.tiff", "a.bmp", "a.jp2", "a.avif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_cut_short(tmp_path, name, share):
    path = saved(tmp_path, Image.effect_noise((200, 200), 90).convert("RGB"), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in sentence(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.tiff", "a.bmp", "a.jp2", "a.avif"])
def test_garbage_inside_raises_nothing_else(tmp_path, name):
    content = bytearray(saved(tmp_path, Image.effect_noise((64, 64), 90).convert("RGB"), name).read_bytes())
    draw = np.random.default_rng(0)
    for start in draw.integers(0, len(content) - 16, 40):
        broken = bytearray(content)
        broken[start : start + 16] = draw.bytes(16)
        path = written(tmp_path, bytes(broken), name)
        try:
            assert open_photo(path).mode == "RGB"
        except PhotoError as error:
            assert str(error).startswith(repr(name))


def box(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand + b"isom" + bytes(200)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"Dear reader,\nthis is no photo.\n" * 9, "not a photo in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a photo in a known format"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "damaged"),
        (png(1, 0, 8, 2, b""), "damaged"),
        (box(b"heic"), "HEIC"),
        (box(b"mif1"), "HEIC"),
        (box(b"crx "), "not a photo in a known format"),
        (box(b"isom"), "video"),
        (box(b"qt  "), "video"),
        (b"\x1aE\xdf\xa3" + bytes(99), "video"),
        (b"RIFF\0\1\0\0AVI LIST" + bytes(99), "video"),
        (b"RIFF\0\1\0\0WAVEfmt " + bytes(99), "not a photo in a known format"),
    ],
)
def test_other_files(tmp_path, content, says):
    assert says in sentence(written(tmp_path, content))


def test_folder_and_missing_file(tmp_path):
    assert "is a folder" in sentence(tmp_path)
    assert "is not there" in sentence(tmp_path / "gone.jpg")
    assert "is not there" in sentence(written(tmp_path, b"x", "file") / "below.jpg")


def test_many_threads(tmp_path):
    broken_exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x9c" * 30
    paths = [
        saved(tmp_path, Image.fromarray(NOISE), "a.png"),
        saved(tmp_path, Image.effect_noise((300, 200), 90).convert("RGB"), "b.jpg", exif=broken_exif),
        saved(tmp_path, Image.effect_noise((300, 200), 90), "c.tiff"),
        written(tmp_path, b"no photo", "d.jpg"),
    ]

    def outcome(path):
        try:
            return open_photo(path).tobytes()
        except PhotoError as error:
            return str(error)

    filters = list(warnings.filters)
    alone = [outcome(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, paths * 25)) == alone * 25
    assert filters == warnings.filters


def test_two_photos_are_decoded_side_by_side(tmp_path):
    data, both = saved(tmp_path, Image.fromarray(NOISE)).read_bytes(), threading.Barrier(2, timeout=10)

    def borrow(name):
        with decoded(data, name) as image:
            both.wait()
            return np.asarray(image)

    with ThreadPoolExecutor(2) as pool:
        assert all(np.array_equal(found, NOISE) for found in pool.map(borrow, "ab"))


def test_photos_wait_for_room_and_none_overtakes_a_large_one():
    room, entered = module._Room(12), []

    def take(pixels):
        with room.share(pixels):
            entered.append(pixels)

    with ThreadPoolExecutor(2) as pool:
        with room.share(2):
            pool.submit(take, 12)
            while not room._next.locked():
                time.sleep(0.001)
            small = pool.submit(take, 1)
            time.sleep(0.05)
            assert entered == []
        small.result(10)
    assert entered == [12, 1]


def test_an_error_while_a_photo_is_borrowed_is_not_blamed_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ROOM", module._Room(NOISE[..., 0].size))
    path = saved(tmp_path, Image.fromarray(NOISE))
    filters = list(warnings.filters)
    for _ in range(2):  # the room for one photo is free again
        with pytest.raises(ZeroDivisionError), decoded(path.read_bytes(), path.name):
            raise ZeroDivisionError
    assert "damaged" in sentence(written(tmp_path, path.read_bytes()[:60], "short.png"))
    assert (pixels(path) == NOISE).all()
    assert filters == warnings.filters
