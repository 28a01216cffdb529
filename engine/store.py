"""Models kept in memory, so that the next job need not load them again."""

import ctypes
import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from zoo import Accelerated
from zoo.base import Backbone

GIB = 1 << 30


class Store:
    """Keep the models used last, and what was made of them, up to a number of bytes; thread-safe.

    One model is loaded at a time, and meanwhile those that are kept can be had. The oldest go before a new one is
    loaded, for which `needed` says how many bytes a model of that name will take.
    """

    def __init__(
        self, load: Callable[[str], Backbone], limit: int = 4 * GIB, needed: Callable[[str], int] = lambda name: 0
    ):
        self.load, self.limit, self.needed = load, limit, needed
        self.models: OrderedDict[tuple[str, str], nn.Module] = OrderedDict()  # by name, and kind of copy if it is one
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def get(self, name: str) -> Backbone:
        """A model by its name."""
        return self._had((name, ""), lambda: self.load(name))

    def copy(self, name: str, kind: str, make: Callable[[Backbone], Accelerated]) -> Accelerated:
        """What `make` makes of a model; it is made once for each kind."""
        model = self.get(name)
        return self._had((name, kind), lambda: make(model))

    def clear(self) -> None:
        with self._lock:
            self.models.clear()
        give_back(anew=True)

    def _had(self, key: tuple[str, str], make: Callable[[], nn.Module]) -> Any:
        found = self._kept(key)
        if found is not None:
            return found
        with self._loading:
            found = self._kept(key)  # another job may have made it while this one waited
            if found is None:
                self._make_room(self.needed(key[0]))
                found = make()
                with self._lock:
                    if not key[1]:  # copies of the same model as it was before
                        for old in [old for old in self.models if old[0] == key[0]]:
                            del self.models[old]
                    self.models[key] = found
                self._make_room(0)
            return found

    def _kept(self, key: tuple[str, str]) -> nn.Module | None:
        with self._lock:
            if key in self.models:
                self.models.move_to_end(key)
            return self.models.get(key)

    def _make_room(self, needed: int) -> None:
        """Drop the oldest models until so many bytes are free, but never the last one."""
        with self._lock:
            before = len(self.models)
            while len(self.models) > 1 and held_bytes(self.models.values()) + needed > self.limit:
                self.models.popitem(last=False)
            dropped = len(self.models) < before
        give_back(anew=dropped)


def held_bytes(models: Iterable[nn.Module]) -> int:
    """Bytes of the weights of models, those that they share counted once."""
    tensors = (t for model in models for t in (*model.parameters(), *model.buffers()))
    return sum({id(t) if t.layout != torch.strided else t.data_ptr(): t.nbytes for t in tensors}.values())


def give_back(anew: bool = False) -> None:
    """Give freed memory back to the system where the C library keeps it otherwise (glibc).

    `anew` looks for what only circles of references hold, such as the graph of a dropped copy, which takes a moment.
    """
    if anew:
        gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        pass
