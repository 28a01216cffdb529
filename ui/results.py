"""What the endpoints answer: plain JSON, each field with its meaning, which the API page shows."""

from typing import Annotated, Any, TypedDict

License = Annotated[str, "licence of the weights, as published"]
DataSet = Annotated[str | None, "the data set whose classes it knows; null if it gives features"]
Top1 = Annotated[float | None, "accuracy on that data set in percent; null if none is published"]
Weights = Annotated[str, '"random" for an architecture alone, else where the checkpoint comes from']
Note = Annotated[str | None, "what to know before these guesses are used, or why there are none; mostly null"]


class Architecture(TypedDict):
    """An answer of /models."""

    architecture: Annotated[str, "its name"]
    family: Annotated[str | None, "the paper's name for it"]
    paradigm: Annotated[str | None, "what mixes the positions of an image, such as convolution or attention"]
    checkpoint: Annotated[
        str | None, "the checkpoint to take first: one that needs no download, then the most accurate"
    ]
    top1: Top1
    data_set: DataSet
    offline: Annotated[bool, "whether that checkpoint needs no download"]


class Weighted(TypedDict):
    """An answer of /checkpoints."""

    name: Annotated[str, "what /classify, /explain and /latency take as model"]
    architecture: Annotated[str, "its architecture"]
    classes: Annotated[int, "how many it tells apart; 0 if it gives features"]
    data_set: DataSet
    top1: Top1
    licence: License
    source: Annotated[str, "where the weights come from: bundled, a package, or a repository of the Hugging Face Hub"]
    offline: Annotated[bool, "whether it needs no download"]
    input_size: Annotated[list[int], "height and width of the image that it takes, in pixels"]


class Alternative(TypedDict):
    """Another model near one."""

    model: Annotated[str, "its name"]
    reason: Annotated[str, "in what it is near, or better"]


class Card(TypedDict):
    """The answer of /card."""

    model: Annotated[str, "a checkpoint, that of an architecture which comes first, or an architecture without one"]
    sentences: Annotated[list[str], "the idea, how it is built, and what can be seen of it"]
    family: Annotated[str, "the paper's name for it"]
    papers: Annotated[list[str], "arXiv ids, or a description where there is none"]
    year: Annotated[int, "in which the paper first appeared"]
    parameters: Annotated[int, "numbers in its weights"]
    macs: Annotated[int, "multiply-adds of one image"]
    activations: Annotated[int, "numbers that its convolutions and products write for one image"]
    input_size: Annotated[list[int], "height and width of that image, in pixels"]
    accuracy: Annotated[dict[str, float], "published top-1 in percent by test set: imagenet, real, v2, a, r, sketch"]
    stages: Annotated[list[list[Any]], "after each stage or block: its name, channels, rows and columns"]
    checkpoints: Annotated[list[str], "of its architecture, the best first"]
    licence: Annotated[str | None, "of the weights, as published; null for random weights"]
    allows: Annotated[str | None, "a guide to that licence, and no legal advice"]
    alternatives: Annotated[list[Alternative], "up to five other models"]


class Guess(TypedDict):
    """A class and its probability."""

    index: Annotated[int, "number of the class"]
    label: Annotated[str, "its name"]
    probability: Annotated[float, "from 0 to 1"]


class Classified(TypedDict):
    """The answer of /classify."""

    model: Annotated[str, "as asked"]
    weights: Weights
    note: Note
    guesses: Annotated[list[Guess], "the most probable classes, best first"]


class Facts(TypedDict):
    """How a map was made: the third answer of /explain."""

    model: Annotated[str, "as asked"]
    weights: Weights
    method: Annotated[str, "as asked"]
    label: Annotated[str | None, "the class that the map explains, in words; null if it does not depend on a class"]
    target: Annotated[int | None, "its number"]
    contrast: Annotated[int | None, "number of the class that it is compared with"]
    score: Annotated[float | None, "logit of the class, less that of the contrast"]
    source: Annotated[str, "where in the model the map was computed"]
    shape: Annotated[list[int], "of the values: rows and columns, after 3 for a map of features"]
    cells: Annotated[dict[str, Any] | None, "where the rows and columns look in the image, in pixels; null: evenly"]
    query: Annotated[list[float] | None, "the place asked about in what the model saw, down and across from 0 to 1"]
    seed: Annotated[int | None, "of the noise, if any"]
    seconds: Annotated[float, "that the map took"]
    notes: Annotated[list[str], "what to know about the map, one sentence each"]


class Latency(TypedDict):
    """The answer of /latency."""

    device: Annotated[str, "the chip"]
    dtype: Annotated[str, "number format of the weights"]
    batch: Annotated[int, "images at once"]
    height: Annotated[int, "of an image, in pixels"]
    width: Annotated[int, "of an image, in pixels"]
    threads: Annotated[int | None, "used on a CPU"]
    warmups: Annotated[int, "passes before the first counted one"]
    n: Annotated[int, "counted passes"]
    median_ms: Annotated[float, "of the counted passes, in milliseconds"]
    p10_ms: Annotated[float, "one pass in ten took no longer"]
    p90_ms: Annotated[float, "nine passes in ten took no longer"]
    p99_ms: Annotated[float, "99 in a hundred"]
    first_ms: Annotated[float, "the very first pass"]
    peak_bytes: Annotated[int | None, "of weights, images, and the most tensors that a pass holds at once"]
    way: Annotated[str, "what was timed, as asked"]
    prepared_s: Annotated[float, "seconds that it took to accelerate or compile the model"]
    change: Annotated[float, "how far an output is from the plain model's, at most"]
    reach: Annotated[float, "the largest magnitude of an output"]
    note: Annotated[str, "what of the model ran as it is written in spite of that, and why; mostly blank"]
    method: Annotated[str, "all of this in a sentence"]


class Cell(TypedDict):
    """What a model says about a photo."""

    guesses: Annotated[list[Guess], "the five most probable classes, best first"]
    problem: Annotated[str | None, "why there is no answer; null if there is one"]


class Column(TypedDict):
    """A model with an explanation, on all photos."""

    model: Annotated[str, "as asked"]
    method: Annotated[str | None, "as asked; null for guesses alone"]
    latency_ms: Annotated[float | None, "of one image, accelerated, on the server; null if it was not timed yet"]
    photos: Annotated[list[Cell], "in their order"]


class Pair(TypedDict):
    """Two columns."""

    between: Annotated[list[int], "the numbers of the two columns, from 0"]
    same: Annotated[list[bool | None], "for each photo, whether their first classes are equal; null if incomparable"]
    correlation: Annotated[float | None, "of their maps, the mean over the photos; null without maps"]


class Compared(TypedDict):
    """The answer of /compare."""

    columns: Annotated[list[Column], "in the order of the models, then of the explanations"]
    pairs: Annotated[list[Pair], "every two columns"]


class Point(TypedDict):
    """An answer of /measure."""

    model: Annotated[str, "as asked"]
    value: Annotated[str, "of what is varied"]
    latency: Annotated[Latency | None, "as /latency answers; null if it could not be measured"]
    problem: Annotated[str | None, "why not"]
