"""What a page names is read only if it was uploaded or is an example; everything else gets one sentence."""

import sys

import pytest
from PIL import Image

import engine
from ui import uploads

OPENED: list[str] = []
WATCHING: list[bool] = []
sys.addaudithook(lambda event, args: OPENED.append(str(args[0])) if event == "open" and WATCHING else None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Gradio's upload folder, with one photo in it; another lies outside."""
    folder = tmp_path / "gradio"
    (folder / "abc").mkdir(parents=True)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    for file in (folder / "abc" / "cat.png", tmp_path / "secret.png"):
        Image.new("RGB", (4, 4), "red").save(file)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    return folder


def claim(path, name="cat.png"):
    return {"path": str(path), "url": "http://127.0.0.1/", "name": name, "truth": ""}


def refusal(photos) -> str:
    with pytest.raises(engine.EngineError) as caught:
        uploads.read(photos)
    return str(caught.value)


@pytest.fixture
def opened():
    """The files that are opened during a test."""
    OPENED.clear()
    WATCHING.append(True)
    yield OPENED
    WATCHING.clear()


def test_an_upload_and_an_example_are_read(folder, opened):
    photos = [claim(folder / "abc" / "cat.png", "my cat.png"), uploads.example("lion.jpg")]
    mine, lion = uploads.read(photos)
    assert mine == engine.Photo("my cat.png", (folder / "abc" / "cat.png").read_bytes())
    assert lion == engine.Photo("lion.jpg", uploads.EXAMPLES["lion.jpg"].read_bytes())
    assert str(folder / "abc" / "cat.png") in opened  # the hook of the next test would notice


def test_whatever_else_is_named_gets_one_sentence_and_nothing_is_opened(folder, opened):
    outside = folder.parent / "secret.png"
    named = [
        outside, folder / "link.png", folder / "abc" / ".." / ".." / "secret.png", folder / "circle.png",
        folder.parent / "missing.png", folder / "missing.png", folder, "", "abc/cat.png", "\0", "x" * 5000,
        "example:", "example:../lion.jpg", f"example:{outside}", uploads.EXAMPLES["lion.jpg"],
    ]  # fmt: skip
    wrong = [None, "text", {}, {"path": "a"}, [None], ["text"], [{}], [{"path": 3, "name": "a"}], [{"path": "a"}]]
    good = claim(folder / "abc" / "cat.png")
    assert {refusal([good, claim(path)]) for path in named} | {refusal(photos) for photos in wrong} == {uploads.REFUSED}
    assert opened == []


def test_a_path_beside_the_folder_whose_name_begins_alike_is_refused(folder):
    beside = folder.with_name("gradio2")
    beside.mkdir()
    Image.new("RGB", (4, 4)).save(beside / "a.png")
    assert refusal([claim(beside / "a.png")]) == uploads.REFUSED


def test_of_the_photos_of_a_page_that_is_loaded_again_those_remain_that_can_be_read(folder):
    file = claim(folder / "abc" / "cat.png") | {"url": "/file=cat", "truth": "tabby"}
    gone = claim(folder / "abc" / "dog.png")
    outside = claim(folder.parent / "secret.png")
    example = uploads.example("lion.jpg")
    here = uploads.still_here([gone, file, outside, "text", example])
    assert [(photo["path"], photo["url"], photo["truth"]) for photo in here] == [
        (file["path"], "/file=cat", "tabby"),
        (example["path"], example["url"], ""),
    ]
    assert uploads.still_here(None) == []


def test_a_name_is_no_path_and_short(folder):
    file = folder / "abc" / "cat.png"
    names = [photo.name for photo in uploads.read([claim(file, n) for n in ("../../a.png", "", "x" * 500 + ".png")])]
    assert names == ["a.png", "cat.png", "x" * 76 + ".png"]


def test_more_photos_than_the_strip_takes_are_refused(folder):
    file = claim(folder / "abc" / "cat.png")
    assert len(uploads.read([file] * uploads.MOST)) == uploads.MOST
    assert refusal([file] * (uploads.MOST + 1)) == uploads.TOO_MANY
