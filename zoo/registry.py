"""Every variant by name: `create("convnext_tiny")`. Each family file lists its own by calling `register`."""

import difflib
import fnmatch
import importlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.base import Backbone
from zoo.meta import Unfilled

_VARIANTS: dict[str, tuple[type[Backbone], Any]] = {}


def register(model: type[Backbone], variants: dict[str, Any]) -> None:
    """Tie each variant's name to its class and to the config that makes it."""
    for name, cfg in variants.items():
        if name in _VARIANTS:
            raise ValueError(f"{name} is registered twice: give one of the two another name.")
        _VARIANTS[name] = model, cfg


@cache
def _import_families() -> dict[str, Path]:
    """Import every family and map each variant to its file, the one whose VARIANTS lists it."""
    paths = sorted((Path(__file__).parent / "families").glob("[a-z]*.py"))
    return {name: path for path in paths for name in importlib.import_module(f"zoo.families.{path.stem}").VARIANTS}


def names(pattern: str = "*") -> list[str]:
    """List every architecture whose name matches the glob pattern, sorted."""
    _import_families()
    return sorted(fnmatch.filter(_VARIANTS, pattern))


def variant(name: str) -> tuple[type[Backbone], Any]:
    """Look up the class and the config behind a name; a KeyError suggests similar names."""
    if name not in _VARIANTS:
        _import_families()
    if name not in _VARIANTS:
        near = ", ".join(similar(name))
        raise KeyError(f"There is no architecture {name!r}" + (f": similar names are {near}." if near else "."))
    return _VARIANTS[name]


def similar(name: str) -> list[str]:
    """Up to three names that begin with what was typed, hold it, or are close to it; underscores do not count.

    Fewer than three letters are in too many names to suggest any.
    """

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    typed = plain(name)
    holding = [known for known in sorted(_VARIANTS, key=len) if len(typed) > 2 and typed in plain(known)]
    begin = [known for known in holding if plain(known).startswith(typed)]
    return list(dict.fromkeys([*begin, *holding, *difflib.get_close_matches(name, _VARIANTS, 3)]))[:3]


def source(name: str) -> Path:
    """Find the family file that lists the variant; its class may live in another file: SigLIP uses ViT's."""
    variant(name)
    return _import_families()[name]


def create(name: str, **overrides: Any) -> Backbone:
    """Build a variant with random weights, in eval mode; `overrides` replace fields of its config."""
    model, cfg = variant(name)
    return model(replace(cfg, **overrides)).eval()


def create_meta(name: str, **overrides: Any) -> Backbone:
    """Build a variant as `create` does, on the meta device: its weights have shapes and no values."""
    with torch.device("meta"), Unfilled():
        return create(name, **overrides)


def create_from(name: str, state_dict: dict[str, Tensor], **overrides: Any) -> Backbone:
    """Build a variant on a checkpoint's own tensors: no random weights are drawn and no tensor is copied.

    What the tensors say (number of classes, image size) replaces the variant's defaults; `overrides` replace both.
    """
    model, cfg = variant(name)
    built = create_meta(name, **(model.fit(cfg, state_dict) | overrides))
    for key, own in built.state_dict().items():
        if key in state_dict and own.is_floating_point() and not state_dict[key].is_floating_point():
            kind = str(state_dict[key].dtype).removeprefix("torch.")
            raise TypeError(f"{key} is {kind}, and weights are floating-point numbers")
    built.load_state_dict(state_dict, strict=True, assign=True)
    return built
