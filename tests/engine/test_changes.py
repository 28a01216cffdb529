"""Photos changed on purpose: each change alone, on photos of which the result is known."""

import io

import numpy as np
import pytest
from PIL import Image

from engine import EngineError, Photo, changed
from engine.changes import GREY, SIDE, Change


def file(image: Image.Image, kind: str = "png") -> Photo:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return Photo("photo.png", buffer.getvalue())


def pixels(photo: Photo) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photo.data)))


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
PHOTO = file(NOISE)


def test_without_a_change_the_file_is_the_same():
    assert changed(PHOTO, Change()) is PHOTO


def test_a_part_is_the_middle():
    assert np.array_equal(pixels(changed(PHOTO, Change(part=50))), np.asarray(NOISE)[15:45, 20:60])
    assert pixels(changed(PHOTO, Change(part=0.1))).shape == (1, 1, 3)


def test_a_turn_is_anticlockwise_and_its_corners_are_grey():
    square = NOISE.crop((0, 0, 60, 60))
    assert np.array_equal(pixels(changed(file(square), Change(turn=90))), np.rot90(np.asarray(square)))
    corner = pixels(changed(PHOTO, Change(turn=45)))[0, 0]
    assert tuple(corner) == GREY


def test_a_box_hides_the_middle_alone():
    found = pixels(changed(PHOTO, Change(box=50)))
    same = (found == np.asarray(NOISE)).all(-1)
    assert (found[15:45, 25:55] == GREY).all()
    assert same[:15].all() and same[45:].all() and same[:, :25].all() and same[:, 55:].all()


def test_blur_keeps_the_mean_and_takes_the_contrast():
    found = pixels(changed(PHOTO, Change(blur=10)))
    assert found.mean() == pytest.approx(np.asarray(NOISE).mean(), abs=2)
    assert found.std() < np.asarray(NOISE).std() / 5


def test_quality_is_that_of_a_jpeg_file():
    assert changed(PHOTO, Change(quality=5)).data.startswith(b"\xff\xd8\xff")
    assert len(changed(PHOTO, Change(quality=5)).data) < len(changed(PHOTO, Change(quality=90)).data)


def test_a_large_photo_is_reduced():
    large = file(Image.new("RGB", (3 * SIDE, SIDE)))
    assert pixels(changed(large, Change(turn=180))).shape == (round(SIDE / 3), SIDE, 3)


def test_what_is_no_photo_is_refused():
    with pytest.raises(EngineError, match=r"photo\.png"):
        changed(Photo("photo.png", b"text"), Change(turn=90))
