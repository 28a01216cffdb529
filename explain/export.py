"""Keep a map: its values (NPY), how it came about (JSON), how it is drawn (PNG)."""

import io
import json
from typing import Any

import numpy as np
from PIL import Image

from explain.render import overlay
from explain.result import Explanation


def facts(result: Explanation, picture: int) -> dict[str, Any]:
    """All that is known of one picture's map but its values, as JSON can hold it."""
    return {
        "method": result.method,
        "source": result.source,
        "target": result.target and result.target[picture],
        "contrast": result.contrast,
        "score": result.score and result.score[picture],
        "query": result.query,
        "seed": result.seed,
        "cells": result.cells and {name: axis._asdict() for name, axis in result.cells._asdict().items()},
        "seconds": result.seconds,  # for all pictures of the call
        "shape": list(result.raw.shape[1:]),
        "notes": result.notes,
    }


def files(
    values: np.ndarray, known: dict[str, Any], photo: Image.Image, layer: Image.Image, opacity: float = 0.55
) -> dict[str, bytes]:
    """What to keep of a map, by file name: its raw values, `known` of it, and its layer, alone and over the photo."""
    raw = io.BytesIO()
    np.save(raw, values, allow_pickle=False)
    return {
        "map.npy": raw.getvalue(),
        "map.json": json.dumps(known, indent=2, ensure_ascii=False).encode(),
        "map.png": _png(layer),
        "overlay.png": _png(overlay(photo, layer, opacity)),
    }


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
