"""The way in from the browser and from other programs: what makes no sense is refused with one sentence.

Gradio alone would answer most of it with no words, or with a status of 500, and each with a traceback in the log.
"""

import errno
import logging
import traceback
from typing import Any

import gradio as gr
import httpx
from gradio.exceptions import InvalidPathError
from gradio.route_utils import FnIndexInferError
from gradio_client.utils import is_file_obj_with_meta, traverse
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from engine import EngineError
from ui import uploads
from ui.uploads import REFUSED

MALFORMED = (
    "This call does not fit its endpoint: an argument is missing, or is not of the kind that the API page lists."
)
CONFUSING = FnIndexInferError, httpx.InvalidURL, KeyError, TypeError  # what gradio raises for a call that it can't read


class Blocks(gr.Blocks):
    """Gradio's Blocks, in which every error that a caller sees is a sentence."""

    async def preprocess_data(self, block_fn: Any, inputs: list, state: Any, explicit_call: bool = False) -> list:
        """Convert the inputs of an event, as gradio does. Raises gr.Error for whatever is wrong with them."""
        try:
            readable = clean(inputs)
            readable = traverse(readable, found_here, is_file_obj_with_meta)
            return await super().preprocess_data(block_fn, readable, state, explicit_call)
        except Exception as error:  # gradio's components raise errors of any type
            raise told(error) from error

    async def call_function(self, *args: Any, **kwargs: Any) -> Any:
        """Run an event's handler, as gradio does. Raises gr.Error for whatever goes wrong in it."""
        try:
            return await super().call_function(*args, **kwargs)
        except Exception as error:
            raise told(error) from error


def told(error: Exception) -> gr.Error:
    """The error that a caller sees instead; what is not meant for one is a line in the log."""
    if isinstance(error, gr.Error) and not error.print_exception:
        return error
    if isinstance(error, EngineError):
        return gr.Error(str(error), print_exception=False)
    if isinstance(error, InvalidPathError):
        return gr.Error(REFUSED, print_exception=False)
    note(error)
    return gr.Error(MALFORMED, print_exception=False)


def note(error: Exception) -> None:
    """Log an error in one line: callers can cause as many as they like."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    logging.getLogger(__name__).warning("Refused: %.200r (%s:%s)", error, place.filename, place.lineno)


def clean(value: Any) -> Any:
    """The same value with text that can be encoded: the name of a file may hold half a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [clean(part) for part in value]
    if isinstance(value, dict):
        return {clean(key): clean(part) for key, part in value.items()}
    return value


def found_here(file: dict) -> dict:
    """A file by its path here. Refuses one that was not uploaded here; gradio would fetch one from another host."""
    return file | {"path": str(uploads.uploaded(file["path"])), "url": None}


def refuse_call(request: Request, error: Exception) -> JSONResponse:
    note(error)
    return JSONResponse({"error": MALFORMED}, status_code=400)


def refuse_file(request: Request, error: Exception) -> JSONResponse:
    """Answer where a file of the server cannot be read or written."""
    note(error)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return JSONResponse({"error": "There is nothing at this address."}, status_code=404)
    sentence = "The server could not read or write a file, perhaps for want of space."
    return JSONResponse({"error": sentence}, status_code=500)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log tells of more than a page that was closed while gradio answered it.

    gradio forgets such a page where its first stream of events ends, and fails to forget it where another one does.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not any(_ends_a_stream(one) for one in (error, error and error.__cause__) if one)


def _ends_a_stream(error: BaseException) -> bool:
    places = traceback.extract_tb(error.__traceback__)
    return isinstance(error, HTTPException | KeyError) and any(place.name == "sse_stream" for place in places)


class Address(Convertor[str]):
    """A part of a path that is an address on another host."""

    regex = "https?:.*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def refuse_address(request: Request) -> JSONResponse:
    return JSONResponse({"error": "This page fetches nothing from other hosts."}, status_code=403)


register_url_convertor("address", Address())
ROUTES = [Route("/gradio_api/file={address:address}", refuse_address, methods=["GET", "HEAD"])]
HANDLERS: dict[Any, Any] = dict.fromkeys(CONFUSING, refuse_call) | {OSError: refuse_file}
logging.getLogger("uvicorn.error").addFilter(is_news)
