"""What each choice on the page can be, for a model: rows of comboboxes (ui/widgets/combobox.py says what a row is)."""

import engine
import explain
import zoo
from ui.facts import accuracy
from zoo.catalogue import Checkpoint

MODELS = "static/models.json"  # from ui/static.py
RANDOM = "random weights"
LAST, MEAN = "last", "mean"  # the values of Layer and Head that stand for the default
LAST_LAYER, ALL_HEADS = [LAST, "last (default)"], [MEAN, "mean of all"]

Row = list[str]


def first_model() -> str:
    """The most accurate ImageNet checkpoint that needs no network; where there is none, the best of what there is."""
    here = engine.on_this_machine()
    return here[0].name if here else zoo.names()[0]


def best_weights(architecture: str) -> str:
    """The checkpoint that is offered first for an architecture; its own name, with random weights, if it has none."""
    return next((row.name for row in engine.offered(architecture)), architecture)


def weights(model: str) -> list[Row]:
    """The checkpoints of a model's architecture, the best first, and random weights last."""
    architecture = model.partition(".")[0]
    rows = [[row.name, row.tag, accuracy(row), offline(row)] for row in engine.offered(architecture)]
    return [*rows, [architecture, RANDOM, "", "", "untrained: for latency and structure only"]]


def offline(row: Checkpoint) -> str:
    return "offline" if engine.is_local(row.name) else ""


def every_method() -> list[Row]:
    """Every explanation, before it is known which of them a model allows."""
    return [_method(method) for method in explain.METHODS.values()]


def methods(model: str) -> list[Row]:
    """Every explanation, with the reason of those that the model does not allow."""
    return [_method(offer.method, offer.reason or "") for offer in engine.explanations(model)]


def _method(method: explain.Method, reason: str = "") -> Row:
    return [method.key, method.title, method.cost if method.slow else "", "", method.shows, method.group, reason]


def fitting_method(model: str, method: str) -> str:
    """The chosen method if the model allows it, or else Grad-CAM, or features of a model without classes."""
    allowed = {offer.method.key for offer in engine.explanations(model) if offer.ok}
    return next(key for key in (method, "grad_cam", "pca") if key in allowed)


def refusal(model: str, method: str, kept: str) -> str:
    """Why another explanation is shown than was asked for, in place of which; nothing if it is the same."""
    offers = {offer.method.key: offer for offer in engine.explanations(model)}
    if kept == method or method not in offers:
        return ""
    shown, asked = offers[kept].method.title, offers[method].method.title
    return f"{offers[method].reason} {shown} is shown in place of {asked}."


def classes(model: str) -> list[Row] | str:
    """The names of the model's classes; without names, a class is typed as a number."""
    row = engine.recipe(model)
    return f"static/classes/{row.labels}.json" if row.labels else []


def fitting_class(model: str, text: str) -> str:
    """What was typed as a class, if the model has that class."""
    try:
        engine.find_class(engine.recipe(model), text)
    except engine.EngineError:
        return ""
    return text


def unknown_classes(model: str, *texts: str) -> list[str]:
    """A sentence for each class that a link names and the model does not have."""
    problems = []
    for text in texts:
        try:
            engine.find_class(engine.recipe(model), text)
        except engine.EngineError as error:
            problems.append(str(error))
    return problems


def class_value(model: str, index: int) -> str:
    """A class as it is typed: its name, or its number if it has none of its own."""
    names = engine.class_names(engine.recipe(model))
    return names[index] if names and names.count(names[index]) == 1 else str(index)


def layers(model: str, method: str) -> list[Row]:
    """The places of the model that the method can show."""
    wanted = explain.METHODS[method]
    price = zoo.cost(*_built(model))
    if wanted.takes("layer"):
        return [[LAST, "last"], *([str(i), f"{i}: {path}"] for i, (path, _) in enumerate(price.attention_layers))]
    stages = price.stages if wanted.takes("tap") else ()
    return [LAST_LAYER, *([name, name] for name, _ in stages)]


def heads(model: str, method: str) -> list[Row]:
    """The attention heads of the model's layers, for a method that shows one."""
    if not explain.METHODS[method].takes("layer"):
        return [ALL_HEADS]
    most = max((count for _, count in zoo.cost(*_built(model)).attention_layers), default=0)
    return [ALL_HEADS, *([str(head), str(head)] for head in range(most))]


def _built(model: str) -> tuple[str, tuple[int, int], int]:
    row = engine.recipe(model)
    return row.architecture, row.size, row.num_classes


def in_range(model: str, method: str, layer: str, head: int) -> tuple[str, str, list[str]]:
    """The values of Layer and Head that a link asks for, and a sentence for each that the model does not have."""
    chosen, problems = [], []
    wanted = {"layer": (layer or LAST, layers), "head": (str(head) if head >= 0 else MEAN, heads)}
    for what, (value, offered) in wanted.items():
        rows = offered(model, method)
        if value not in {row[0] for row in rows}:
            problems.append(f"{model} has no {what} {value[:20]!r} to show: {rows[0][1]} is shown.")
            value = rows[0][0]
        chosen.append(value)
    return chosen[0], chosen[1], problems
