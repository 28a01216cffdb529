"""The photos that the page names, read from what was uploaded or from the examples, and from nowhere else."""

from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote

import gradio as gr
from gradio.utils import get_upload_folder

import engine

GRADIO_PHOTOS = Path(gr.__file__).parent / "media_assets" / "images"
EXAMPLES: dict[str, Path] = {
    name: GRADIO_PHOTOS / name for name in ("lion.jpg", "cheetah.jpg", "tower.jpg", "cheetah1.jpg")
}
ADDRESS = "/gradio_api/file="  # before the path of an uploaded file
EXAMPLE = "example:"  # begins the path of an example
MOST = 12  # photos at a time
NAME = 80  # letters of a photo's name

# The same whatever is wrong, so that nobody learns from it which files this machine has.
REFUSED = "One of the photos was not uploaded here, or was deleted after a while: remove it and add it again."
TOO_MANY = f"At most {MOST} photos at a time: remove some."


class Photo(TypedDict):
    """A photo as the page names it."""

    path: str  # where the server has it, or "example:" and the name of an example
    url: str  # where the page shows it from
    name: str  # as the visitor's file was called
    truth: str  # what is on it, as far as the visitor told


def example(name: str) -> Photo:
    """An example as the page names it."""
    return Photo(path=EXAMPLE + name, url=f"static/examples/{name}", name=name, truth="")


def named(photos: Any) -> list[Photo]:
    """What of a value from the page names a photo at all; whether it may be read is another question."""
    listed = photos if isinstance(photos, list) else []
    return [
        Photo(path=photo["path"], url="", name=photo["name"], truth=str(photo.get("truth") or ""))
        for photo in listed
        if isinstance(photo, dict) and all(isinstance(photo.get(key), str) for key in ("path", "name"))
    ]


def still_here(photos: Any) -> list[Photo]:
    """Those photos of a page that was loaded again that can still be read."""
    found = []
    for photo in photos if isinstance(photos, list) else []:
        try:
            _claim(photo)
        except engine.EngineError:
            continue
        found.append(named([photo])[0] | {"url": str(photo.get("url") or "")})
    return found[:MOST]


def read(photos: Any) -> tuple[engine.Photo, ...]:
    """Read the photos that a page names; what it sends may be anything. Raises engine.EngineError."""
    if not isinstance(photos, list):
        raise engine.EngineError(REFUSED)
    if len(photos) > MOST:
        raise engine.EngineError(TOO_MANY)
    claims = [_claim(photo) for photo in photos]  # all, before the first is opened
    try:
        return tuple(engine.Photo(name, path.read_bytes()) for name, path in claims)
    except OSError as error:
        raise engine.EngineError(REFUSED) from error


def _claim(photo: Any) -> tuple[str, Path]:
    """The name of a photo, and its file once that is known to be one of those a page may have."""
    path, name = (photo.get("path"), photo.get("name")) if isinstance(photo, dict) else (None, None)
    if not isinstance(path, str) or not isinstance(name, str):
        raise engine.EngineError(REFUSED)
    if path.startswith(EXAMPLE):
        known = path.removeprefix(EXAMPLE)
        if known in EXAMPLES:
            return known, EXAMPLES[known]
        raise engine.EngineError(REFUSED)
    file = uploaded(path)
    return Path(name).name[-NAME:] or file.name, file


def uploaded(path: Any) -> Path:
    """An uploaded file, by its path or by the address that this page gives it. Raises engine.EngineError for others."""
    try:
        if isinstance(path, str) and path.startswith(("http://", "https://")):
            path = unquote(path.partition(ADDRESS)[2])  # of the host, nothing is asked
        folder, file = Path(get_upload_folder()).resolve(), Path(path).resolve(strict=True)
        if file.is_relative_to(folder) and file.is_file():
            return file
    except (OSError, ValueError, RuntimeError, TypeError) as error:  # missing; a null byte; links in a circle
        raise engine.EngineError(REFUSED) from error
    raise engine.EngineError(REFUSED)
