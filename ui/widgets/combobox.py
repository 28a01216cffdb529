"""The page's combobox: a text field that searches a list with columns, groups, and rows that can't be chosen."""

from collections.abc import Sequence

import gradio as gr

# [value, label, right, tag, below, group, reason, searched], all strings; trailing empty ones may be left out.
#   right: aligned right in the row, and shown in the closed field        tag: a badge, such as "offline"
#   below: a line under the label       group: the heading that consecutive rows share
#   reason: why the row can't be chosen, if it can't      searched: "1" if it is listed only once something is typed
Row = Sequence[str]

# The template is empty and stays so: what combobox.js builds is never patched by gradio, and no text becomes markup.
BUILD = "zoo.comboboxPart(element, props, watch, () => trigger('input'))"


def combobox(
    label: str,
    name: str,
    rows: Sequence[Row] | str,
    value: str = "",
    *,
    optional: bool = False,
    free: bool = False,
    placeholder: str = "",
    width: int = 0,
    hint: bool = True,
) -> gr.HTML:
    """A combobox with elem_id `name`; `.input` tells that a person chose. Update it with gr.HTML(value=..., rows=...).

    `rows` may be the address of a JSON list, relative to the page; it is fetched once for all comboboxes.
    `optional` allows no value, "". `free` also takes text that fits no row, and any whole number.
    `width` is the list's least width in pixels. `hint` shows the chosen row's `below` under the field.
    Like everything from a page, the value is only a claim: check it.
    """
    return gr.HTML(
        value, html_template="", js_on_load=BUILD, apply_default_css=False, elem_id=name, elem_classes="combo",
        label=label, rows=rows, optional=optional, free=free, placeholder=placeholder, width=width, hint=hint,
    )  # fmt: skip
