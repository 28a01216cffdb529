"""Permalinks: a choice as a query string, which outlives the server, and back again."""

from urllib.parse import urlencode

import gradio as gr

import engine
import explain

# name in the query -> field of engine.Request
FIELDS = {
    "model": "model",
    "method": "method",
    "class": "target",
    "against": "contrast",
    "layer": "layer",
    "head": "head",
    "signed": "signed",
    "together": "together",
}
BLANK = engine.Request(model="")
BLANKS = {key: getattr(BLANK, field) for key, field in FIELDS.items()}

# Puts the link into the address bar without loading the page again.
TO_ADDRESS_BAR = "(link) => { history.replaceState(null, '', link || window.location.pathname); }"


def write(request: engine.Request) -> str:
    """?model=...&method=..., with what is as it always is left out."""
    fields = {key: getattr(request, field) for key, field in FIELDS.items()}
    told = {key: int(value) if value is True else value for key, value in fields.items() if value != BLANKS[key]}
    return "?" + urlencode(told)


def read(request: gr.Request) -> engine.Request | None:
    """The choice in the address, or None if it names none. Raises engine.EngineError for one that makes no sense."""
    query = dict(request.query_params)
    if "model" not in query:
        return None
    if query.get("method", BLANK.method) not in explain.METHODS:
        raise engine.EngineError(f"This link asks for the map {query['method']!r}, which there is not.")
    try:
        return engine.Request(
            model=query["model"],
            method=query.get("method", BLANK.method),
            target=query.get("class", ""),
            contrast=query.get("against", ""),
            layer=query.get("layer", BLANK.layer),
            head=int(query.get("head", BLANK.head)),
            signed="signed" in query,
            together="together" in query,
        )
    except ValueError as error:
        raise engine.EngineError("This link's head is no number; the first choice is shown instead.") from error
