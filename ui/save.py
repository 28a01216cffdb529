"""Make the files of a card for a visitor to save: the map, the probabilities, or everything."""

import base64
import json
from pathlib import Path

import gradio as gr
from pydantic import TypeAdapter

import engine
from engine import Job, Look, Looks, Request
from ui import cards, uploads, work
from ui.answer import truth

REQUEST = TypeAdapter(Request)
GONE = "These files cannot be made any more: press Classify, then save."


async def save(event: gr.EventData) -> tuple[dict[str, str] | None, str]:
    """Make the files of a card, or of all. A card says what it shows, so they fit it even if the choice has changed."""
    try:
        wanted = event._data
        asked = json.loads(wanted["asked"])
        photos, request = uploads.named(asked["photos"]), REQUEST.validate_python(asked["request"])
        looks = await work.answer(Job("look", request, uploads.read(photos), visitor=work.visitor()))
        assert isinstance(looks, Looks)
        name, content = _file(wanted, photos, looks, request)
    except engine.EngineError as error:
        return None, cards.notice(str(error))
    except (AttributeError, KeyError, IndexError, OverflowError, TypeError, ValueError):
        return None, cards.notice(GONE)
    return {"name": name, "content": base64.b64encode(content).decode()}, ""


def _file(wanted: dict, photos: list[uploads.Photo], looks: Looks, request: Request) -> tuple[str, bytes]:
    """The name and the content of what is to be saved."""
    row, names = engine.recipe(request.model), [photo["name"] for photo in photos]
    classes = engine.class_names(row) or ()
    if wanted["kind"] == "all":
        shown = [(name, look) for name, look in zip(names, looks.photos, strict=True) if isinstance(look, Look)]
        truths = [truth(photo, row) for photo, look in zip(photos, looks.photos, strict=True) if isinstance(look, Look)]
        return f"{request.model}.zip", engine.archive_all(shown, classes, truths)
    number = int(wanted["photo"])
    look, stem = looks.photos[number], Path(names[number]).stem
    if not isinstance(look, Look):
        raise engine.EngineError(look)
    if wanted["kind"] == "csv":
        return f"{stem}.{request.model}.csv", engine.probabilities_csv(look, classes).encode()
    return f"{stem}.{request.method}.zip", engine.archive(look)
