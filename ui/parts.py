"""What the tabs are made of: HTML of ours, and how events that nobody else should see are wired."""

from typing import Any

import gradio as gr

QUIET: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
QUICK: dict[str, Any] = dict(queue=False, **QUIET)  # not behind anybody's job


SAVE = "(file) => { zoo.download(file); }"  # in the browser: nothing is written on the server
SAVE_CSV = '<span class="tools"><button type="button" class="tool" data-do="save">Download CSV</button></span>'


class Outputs:
    """Base of a dataclass whose fields are what a handler puts on the page; None leaves a part as it is."""

    def outputs(self) -> list:
        """In the order of the fields."""
        return [gr.skip() if value is None else value for value in vars(self).values()]


def html(value: str, name: str, js: str | None = None) -> gr.HTML:
    """HTML in our own style, with elem_id `name`."""
    return gr.HTML(value, elem_id=name, elem_classes="ours", apply_default_css=False, js_on_load=js)


def live(name: str) -> gr.HTML:
    """A place for what a job is doing and what it says; a screen reader tells it."""
    template = '<div role="status">${value}</div>'
    return gr.HTML("", elem_id=name, elem_classes="live", apply_default_css=False, html_template=template)


def busy(name: str) -> dict[str, Any]:
    """How a job is wired that marks its tab, with elem_id `name`, as busy."""
    mark = f"(...values) => {{ document.querySelector('#{name}').dataset.busy = '1'; return values; }}"
    return dict(js=mark, trigger_mode="multiple", **QUIET)


def done(name: str) -> str:
    """Take the mark away."""
    return f"(...values) => {{ delete document.querySelector('#{name}').dataset.busy; return values; }}"
