"""What this machine learned about models: how long each takes here, and how often it was looked at. Never a photo.

It is kept in a small SQLite file, or in memory where no file can be written.
"""

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from engine.jobs import PRECISIONS, WAYS, Measured, Request, Seen, Timing
from engine.search import recipe

VARIABLE = "VISION_ZOO_RECORDS"
MEMORY = ":memory:"
VERSION = 1  # of the tables
TABLES = """
create table if not exists timing (
  machine text, model text, precision text, way text,
  architecture text, height integer, width integer, classes integer, figures text, measured real,
  primary key (machine, model, precision, way));
create table if not exists look (model text primary key, times integer);
"""


def usual_path() -> str:
    """The file that the environment names, else one in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return os.environ.get(VARIABLE) or str(Path(cache) / "vision-zoo" / "records.sqlite")


class Records:
    """Timings by model, precision and way, and counts of looks; thread-safe.

    Timings of another machine, or of another version of PyTorch, are kept and not shown. A file that fails later costs
    its figures alone: the page goes on.
    """

    def __init__(self, path: str = MEMORY, machine: str = "", clock: Callable[[], float] = time.time):
        self.machine, self._clock, self._lock = machine, clock, threading.Lock()
        self._file = _opened(path)

    def of(self, request: Request) -> dict[str, Measured]:
        """The timings of a model in a precision by way, the last measured first."""
        query = (
            "select way, figures, measured from timing where machine = ? and model = ? and precision = ? "
            "order by measured desc"
        )
        found = self._ask(query, self.machine, request.model, request.precision)
        now = self._clock()
        return {way: Measured(Timing(**json.loads(told)), max(0.0, now - measured)) for way, told, measured in found}

    def put(self, request: Request, way: str, timing: Timing) -> None:
        """Keep a timing in place of the one before."""
        row = recipe(request.model)
        built = row.architecture, *row.size, row.num_classes
        told = json.dumps(asdict(timing)), self._clock()
        key = self.machine, request.model, request.precision, way
        self._ask("insert or replace into timing values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *key, *built, *told)

    def looked(self, model: str) -> None:
        """Count a look at a model."""
        self._ask("insert into look values (?, 1) on conflict (model) do update set times = times + 1", model)

    def seen(self) -> Seen:
        """The latency of every model that was timed here in the usual way, and the counts of looks."""
        query = (
            "select architecture, height, width, classes, json_extract(figures, '$.median_ms') from timing "
            "where machine = ? and precision = ? and way = ? order by measured"
        )
        timed = self._ask(query, self.machine, PRECISIONS[0], WAYS[0])
        return Seen({tuple(key): ms for *key, ms in timed}, dict(self._ask("select model, times from look")))

    def _ask(self, query: str, *values: object) -> list[tuple]:
        with self._lock:
            try:
                with self._file:
                    return self._file.execute(query, values).fetchall()
            except sqlite3.Error as error:
                logging.getLogger(__name__).warning("The records cannot be read or written: %s", error)
                return []


def _opened(path: str) -> sqlite3.Connection:
    """The file with its tables, or memory where that fails."""
    try:
        if path != MEMORY:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(path, timeout=5, check_same_thread=False)
        (version,) = file.execute("pragma user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"its tables are of version {version}, not {VERSION}")
        file.executescript(f"{TABLES} pragma user_version = {VERSION};")
        return file
    except (OSError, sqlite3.Error) as error:
        logging.getLogger(__name__).warning("Records are kept in memory alone: %s: %s", path, error)
        return _opened(MEMORY)
