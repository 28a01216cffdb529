"""Programs that reproduce what the page shows for one photo: by `zoo` and `explain` alone, or by asking the page.

Texts of a visitor, such as the name of a file, enter a program only by `repr`.
"""

from pathlib import Path

import engine
import explain
from engine import Request
from zoo.catalogue import Checkpoint

ADDRESS = "PAGE_ADDRESS"  # the browser replaces it
OPACITY = 0.55
FEATURES = "pca"  # the method whose maps have three values per place
DEFAULTS = {"layer": -1, "head": None, "target": None, "contrast": None}  # of explain.explain
BLANK = Request(model="")


def zoo_code(request: Request, photo: str) -> str:
    """A program that classifies the photo of this file name, and saves its map.

    Raises EngineError for a model, class or layer that makes no sense. A clicked place is looked up in this
    photo, and the map has a colour scale of its own.
    """
    row = engine.recipe(request.model)
    less_exact = _less_exact(request, row)
    random, named = row.source == engine.RANDOM, row.labels is not None
    drawn, resized = bool(request.method), random and row.size != engine.like(row.name).size
    standard = {"from dataclasses import replace": resized}
    others = {"import numpy as np": drawn, "import torch": random or less_exact}
    ours = {
        "import explain": drawn,
        "import zoo": True,
        "from explain import render": drawn,
        "from zoo import labels": named,
        "from zoo.preprocess import view": drawn,
    }
    imports = ["\n".join(line for line, needed in group.items() if needed) for group in (standard, others, ours)]
    prepare = "x = zoo.preprocess(photo, row)[None]"
    parts = [*filter(None, imports), "\n".join([f"photo = zoo.open_photo({photo!r})", *_model(row, resized), prepare])]
    if less_exact:
        parts[-1] += f"\nfast = zoo.accelerate(model, x, torch.{request.precision})  # for guesses; maps need the model"
    parts.append(_top_5(row, request) if named else "print(model(x).shape)  # the outputs have no names")
    if drawn:
        parts.append(_map(request, row, photo))
    return "\n\n".join(parts) + "\n"


def _less_exact(request: Request, row: Checkpoint) -> bool:
    """Whether the guesses are not the model's own, but those of a copy."""
    return row.labels is not None and request.precision != BLANK.precision


def _model(row: Checkpoint, resized: bool) -> list[str]:
    if row.source != engine.RANDOM:
        return [f"row = zoo.checkpoint({row.name!r})", "model = zoo.load(row)"]
    like = f"zoo.checkpoint({engine.like(row.name).name!r})"
    return [
        f"row = {f'replace({like}, size={row.size})' if resized else like}  # how photos are prepared",
        "torch.manual_seed(0)",
        f"model = zoo.create({row.name!r}).requires_grad_(False)  # random weights: no guesses",
    ]


def _top_5(row: Checkpoint, request: Request) -> str:
    run = "fast" if _less_exact(request, row) else "model"
    return f"""\
names = labels.names({row.labels!r})
best = {run}(x)[0].softmax(0).topk(5)
for probability, index in zip(best.values.tolist(), best.indices.tolist()):
    print(f"{{probability:.4f}}  {{names[index]}}")"""


def _map(request: Request, row: Checkpoint, photo: str) -> str:
    told = {name: value for name, value in engine.options(request, row, []).items() if DEFAULTS.get(name, "") != value}
    told.pop("joint", None)  # with one photo, there is nothing to share
    lines, box = [], "view(photo.size, row).box"
    if request.clicked and explain.METHODS[request.method].takes("query"):
        (down, across), box = request.clicked[1], "(left, top, right, bottom)"
        lines += [
            "left, top, right, bottom = view(photo.size, row).box  # what the model sees",
            f"down, across = {down} * photo.height, {across} * photo.width  # the place asked about",
            "place = (down - top) / (bottom - top), (across - left) / (right - left)",
        ]
    asked = [f", {name}={value!r}" for name, value in told.items()] + [", query=place"] * bool(lines)
    if _less_exact(request, row) and explain.METHODS[request.method].by_class and "target" not in told:
        asked.append(", target=best.indices[0].item()")
    lines.append(f"found = explain.explain(model, x, {request.method!r}{''.join(asked)})")
    lines.append("values, cells = found.raw[0].numpy(), found.places(row.size)")
    lines.append(f"where = render.Placement(photo.size, {box}, row.size)")
    if request.method == FEATURES:
        lines.append("low, high = np.quantile(values, (0.02, 0.98), axis=(1, 2))")
        lines.append("layer = render.feature_layer(values, cells, where, low, high)")
    else:
        lines.append(f"layer = render.layer(values, cells, where{', signed=True' * request.signed})")
    file = f"{Path(photo).stem}.{request.method}"
    lines.append(f"render.overlay(photo, layer, {OPACITY}).save({file + '.png'!r})")
    lines.append(f"np.save({file + '.npy'!r}, values)  # signed, not rescaled")
    return "\n".join(lines)


def client_code(request: Request, photo: str) -> str:
    """A program that asks the page for the same by `gradio_client`. Raises EngineError for an unknown model."""
    precision = "" if request.precision == BLANK.precision else f"precision={request.precision!r}, "
    lines = [
        "from gradio_client import Client, handle_file",
        "",
        f'client = Client("{ADDRESS}")',
        f"photo, model = handle_file({photo!r}), {request.model!r}",
        f'answer = client.predict(photo, model, {precision}api_name="/classify")',
    ]
    if engine.recipe(request.model).labels is None:
        lines.append('print(answer["note"])')
    else:
        lines.append('for guess in answer["guesses"]:')
        lines.append("""    print(f"{guess['probability']:.4f}  {guess['label']}")""")
    if request.method:
        given = {name: getattr(request, name) for name in ("method", "target", "contrast", "layer", "head", "signed")}
        told = {name: value for name, value in given.items() if value != getattr(BLANK, name)}
        if request.clicked:
            told["place"] = list(request.clicked[1])
        asked = "".join(f"{name}={value!r}, " for name, value in told.items())
        lines += [
            "",
            f'overlay, values, facts = client.predict(photo, model, {asked}api_name="/explain")',
            "print(overlay, values, facts)  # two files, PNG and NPY, and how the map was made",
        ]
    return "\n".join(lines) + "\n"
