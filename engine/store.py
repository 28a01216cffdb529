"""Models kept in memory, so that the next job need not load them again."""

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable

from zoo.base import Backbone

GIB = 1 << 30


class Store:
    """Keep the models used last, up to a number of bytes; thread-safe.

    One model is loaded at a time, and meanwhile those that are kept can be had.
    """

    def __init__(self, load: Callable[[str], Backbone], limit: int = 4 * GIB):
        self.load, self.limit = load, limit
        self.models: OrderedDict[str, Backbone] = OrderedDict()
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def get(self, name: str) -> Backbone:
        found = self._kept(name)
        if found is not None:
            return found
        with self._loading:
            found = self._kept(name)  # another job may have loaded it while this one waited
            return self._keep(name, self.load(name)) if found is None else found

    def clear(self) -> None:
        with self._lock:
            self.models.clear()
        give_back()

    def _kept(self, name: str) -> Backbone | None:
        with self._lock:
            if name in self.models:
                self.models.move_to_end(name)
            return self.models.get(name)

    def _keep(self, name: str, model: Backbone) -> Backbone:
        with self._lock:
            before = len(self.models)
            self.models[name] = model
            while len(self.models) > 1 and sum(map(weight_bytes, self.models.values())) > self.limit:
                self.models.popitem(last=False)
            dropped = len(self.models) <= before
        if dropped:
            give_back()
        return model


def weight_bytes(model: Backbone) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def give_back() -> None:
    """Give freed memory back to the system where the C library keeps it otherwise (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        pass
