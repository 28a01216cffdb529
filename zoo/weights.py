"""From a checkpoint's file to a model that holds its weights: file -> tensors by key -> the architecture.

Every failure is a WeightsError: one sentence that says what happened and what to do.
"""

import pickle
import re
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from zoo.base import Backbone
from zoo.catalogue import Checkpoint
from zoo.download import Progress, WeightsError, check, first_line, local, remote, retrieve, row_of
from zoo.memory import shortage
from zoo.registry import create_from, create_meta, variant

_NESTS = "state_dict_ema", "model_ema", "state_dict", "model", "module", "encoder"  # averaged weights first
_FOREIGN = RuntimeError, LookupError, ValueError, TypeError, AttributeError  # what another model's file may raise


def load(checkpoint: str | Checkpoint, *, progress: Progress | None = None, **overrides: Any) -> Backbone:
    """Load a checkpoint into its architecture: eval mode, float32, parameters frozen; `overrides` go to the config.

    A file on this machine is used without asking the network; `progress` is told the bytes of a download. Raises
    WeightsError if the name is unknown, or if the file is unavailable, does not fit, or needs too much memory.
    """
    row = row_of(checkpoint)
    _variant(row.architecture)  # before a useless download
    path = local(row)
    if path is None:
        filename, size = remote(row)
        _check_memory(row.name, size)
        path = retrieve(row, filename, size, progress)
    else:
        check(row, path)
    return _build(row.name, row.architecture, path, f"The file of {row.name}", **overrides)


def load_file(path: str | Path, architecture: str, **overrides: Any) -> Backbone:
    """Load a local file (.safetensors, or .bin and .pth without code) as `load` does; `overrides` go to the config."""
    return _build(Path(path).name, architecture, Path(path), str(path), **overrides)


def read(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict, in float32; a pickle may hold tensors and plain containers, never code.

    A WeightsError names the file that is missing, damaged, holds code, or holds no tensors.
    """
    return _read(Path(path), str(path))


def _read(path: Path, called: str) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            found = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle can raise any error
        raise WeightsError(_unreadable(path, called, error)) from error
    state = _tensors(found)
    if not state:
        raise WeightsError(f"{called} holds no named weights: choose a file that was saved from a state dict.")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def memory_needed(path: str | Path) -> int:
    """Bytes of memory that a file's weights take in float32; for a pickle, a lower bound."""
    return _memory_needed(Path(path), str(path))


def _memory_needed(path: Path, called: str) -> int:
    try:
        if path.suffix != ".safetensors":
            return path.stat().st_size
        with safetensors.safe_open(path, "pt") as file:
            return sum(4 * prod(file.get_slice(key).get_shape()) for key in file.keys())
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(_unreadable(path, called, error)) from error


def _check_memory(name: str, needed: int | None) -> None:
    if sentence := shortage(name, needed):
        raise WeightsError(sentence)


def _variant(architecture: str) -> tuple[type[Backbone], Any]:
    try:
        return variant(architecture)
    except KeyError as error:
        raise WeightsError(error.args[0]) from error


def _tensors(found: Any) -> dict[str, Tensor]:
    """Find the state dict among what a training script saved with it."""
    if not isinstance(found, dict):
        return {}
    found = next((found[nest] for nest in _NESTS if isinstance(found.get(nest), dict)), found)
    state = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if all(k.startswith("module.") for k in state):  # as DataParallel saves
        return {k.removeprefix("module."): v for k, v in state.items()}
    return state


def _unreadable(path: Path, called: str, error: Exception) -> str:
    if not path.is_file():
        return f"{called} is not there: check the path."
    if isinstance(error, PermissionError):
        return f"{called} may not be read: ask for permission to read it."
    code = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if code:
        return f"{called} holds code ({code[1]}), which is never run: get the weights as safetensors."
    return f"{called} is damaged: delete it and download it again."


def _build(name: str, architecture: str, path: Path, called: str, **overrides: Any) -> Backbone:
    model, _ = _variant(architecture)
    _check_memory(name, _memory_needed(path, called))
    state = _read(path, called)
    try:
        state = model.adapt(state)
        built = create_from(architecture, state, **overrides)
    except _FOREIGN as error:
        how = _misfit(architecture, state, overrides) or first_line(error)
        raise WeightsError(f"{name} does not fit {architecture}: {how}; choose its own architecture.") from error
    return built.requires_grad_(False)


def _misfit(architecture: str, state: dict[str, Tensor], overrides: dict[str, Any]) -> str | None:
    """Say in one clause how a state dict differs from the architecture's own; None if it does not."""
    model, cfg = variant(architecture)
    try:
        built = create_meta(architecture, **(model.fit(cfg, state) | overrides))
    except _FOREIGN:
        built = create_meta(architecture)
    asked = built.state_dict()
    reshaped = {k for k in asked if k in state and asked[k].shape != state[k].shape}
    named = {k: asked.get(k, v) for k, v in state.items() if k not in reshaped}  # only the names matter here
    rest = built.load_state_dict(named, strict=False, assign=True)
    missing, unexpected = [k for k in rest.missing_keys if k not in reshaped], rest.unexpected_keys
    if missing:
        first = f"it lacks {missing[0]}"
    elif unexpected:
        first = f"it has {unexpected[0]}, which is no part of the model"
    elif reshaped:
        key = next(k for k in asked if k in reshaped)
        first = f"{key} is {tuple(state[key].shape)}, not {tuple(asked[key].shape)}"
    else:
        return None
    return f"{first} ({len(missing)} missing, {len(unexpected)} unexpected, {len(reshaped)} of another shape)"
