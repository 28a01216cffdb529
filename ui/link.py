"""Permalinks: a choice as a query string, and back. A link stays valid when the server restarts."""

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

# Puts the link into the address bar without reloading the page.
TO_ADDRESS_BAR = "(link) => { history.replaceState(null, '', link || window.location.pathname); }"


def write(request: engine.Request) -> str:
    """?model=...&method=..., without what has its default value."""
    fields = {key: getattr(request, field) for key, field in FIELDS.items()}
    told = {key: int(value) if value is True else value for key, value in fields.items() if value != BLANKS[key]}
    return "?" + urlencode(told)


def read(request: gr.Request) -> engine.Request | None:
    """The choice in the address, or None if it has no model. Raises engine.EngineError if the choice makes no sense."""
    query = dict(request.query_params)
    if "model" not in query:
        return None
    if query.get("method", BLANK.method) not in explain.METHODS:
        raise engine.EngineError(
            f"This link asks for the map {query['method']!r}, which does not exist; the first choice is shown instead."
        )
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
        raise engine.EngineError("The head in this link is not a number; the first choice is shown instead.") from error
