"""Files of a map: its values (NPY), how it was made (JSON), and drawings of it (PNG)."""

import io
import json
from typing import Any

import numpy as np
from PIL import Image

from explain.render import overlay
from explain.result import Explanation


def facts(result: Explanation, image: int) -> dict[str, Any]:
    """Everything known about the map of one image, except its values, as JSON can hold it."""
    return {
        "method": result.method,
        "source": result.source,
        "target": result.target and result.target[image],
        "contrast": result.contrast,
        "score": result.score and result.score[image],
        "query": result.query,
        "seed": result.seed,
        "cells": result.cells and {name: axis._asdict() for name, axis in result.cells._asdict().items()},
        "seconds": result.seconds,  # for all images of the call together
        "shape": list(result.raw.shape[1:]),
        "notes": result.notes,
    }


def files(
    values: np.ndarray, known: dict[str, Any], photo: Image.Image, layer: Image.Image, opacity: float = 0.55
) -> dict[str, bytes]:
    """The files of a map by name: its raw values, what is `known` about it, and its layer, alone and over the photo."""
    raw = io.BytesIO()
    np.save(raw, values, allow_pickle=False)
    return {
        "map.npy": raw.getvalue(),
        "map.json": json.dumps(known, indent=2, ensure_ascii=False).encode(),
        "map.png": _png(layer),
        "overlay.png": _png(overlay(photo, layer, opacity)),
    }


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
