"""What a machine learned about models outlives the program, and a broken file costs nothing but its figures."""

import logging
import sqlite3
import threading
from dataclasses import replace

import pytest

from engine import LocalEngine, Request, records
from engine.records import MEMORY, Records
from engine.table import lines, seen_here
from tests.engine.jobs import RED, TIMING, look, time_it

NAME = "resnet20_cifar"
LITE = Request("tf_efficientnet_lite0.pypi_in1k")


def test_a_timing_and_the_looks_outlive_the_program(tmp_path):
    path = str(tmp_path / "new" / "records.sqlite")
    first = LocalEngine(records=path)
    timing = time_it(NAME, 0.1, first)
    look(Request(NAME, ""), [RED], first)
    look(Request(NAME, ""), [RED], first)  # the same again is not computed, and not counted
    second = LocalEngine(records=path)
    assert second.timed(Request(NAME))["fast"].timing == timing
    assert second.seen().looks == {NAME: 1}
    assert list(second.seen().ms.values()) == [timing.median_ms]


def test_the_file_holds_no_photo_and_no_name_of_one(tmp_path):
    path = tmp_path / "records.sqlite"
    look(Request(NAME, ""), [RED], LocalEngine(records=str(path)))
    with sqlite3.connect(path) as file:
        rows = [row for table in ("look", "timing") for row in file.execute(f"select * from {table}")]
    assert rows == [(NAME, 1)]
    assert b"photo" not in path.read_bytes()


def test_timings_of_another_machine_are_not_shown(tmp_path):
    path = str(tmp_path / "records.sqlite")
    here, there = Records(path, "a CPU, 2 threads"), Records(path, "a CPU, 4 threads")
    here.put(LITE, "fast", TIMING)
    assert here.of(LITE)["fast"].timing == TIMING
    assert there.of(LITE) == {} and there.seen().ms == {}
    there.put(LITE, "fast", replace(TIMING, median_ms=1.0))
    assert here.of(LITE)["fast"].timing == TIMING


def test_the_table_shows_them_on_every_checkpoint_of_one_architecture_and_size():
    kept = Records(MEMORY, "here")
    kept.put(LITE, "fast", TIMING)
    kept.put(replace(LITE, model="resnet18.a1_in1k"), "plain", TIMING)  # as it is written: not compared with others
    kept.looked(LITE.model)
    kept.looked(LITE.model)
    found = {line.name: (line.ms, line.looks) for line in seen_here(lines(), kept.seen()) if line.ms or line.looks}
    assert found == {LITE.model: (TIMING.median_ms, 2), "tf_efficientnet_lite0.in1k": (TIMING.median_ms, 0)}


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_where_no_file_can_be_written_they_are_in_memory(tmp_path, content, caplog):
    path = tmp_path / "records.sqlite"
    path.write_bytes(content) if content else path.mkdir()
    with caplog.at_level(logging.ERROR):
        kept = Records(str(path), "here")
    kept.looked(NAME)
    assert kept.seen().looks == {NAME: 1}
    assert content is None or path.read_bytes() == content


def test_tables_of_a_later_version_are_left_alone(tmp_path):
    path = tmp_path / "records.sqlite"
    with sqlite3.connect(path) as file:
        file.execute("pragma user_version = 99")
    Records(str(path)).looked(NAME)
    with sqlite3.connect(path) as file:
        assert file.execute("select name from sqlite_master").fetchall() == []


def test_many_threads_count_every_look(tmp_path):
    kept = Records(str(tmp_path / "records.sqlite"))
    threads = [threading.Thread(target=lambda: [kept.looked(NAME) for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.seen().looks == {NAME: 100}


def test_a_file_that_fails_later_costs_its_figures_alone():
    kept = Records(MEMORY, "here")
    kept._file.execute("drop table look")
    kept.looked(NAME)
    assert kept.seen().looks == {}


def test_the_environment_names_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv(records.VARIABLE, "elsewhere.sqlite")
    assert records.usual_path() == "elsewhere.sqlite"
    monkeypatch.delenv(records.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert records.usual_path() == str(tmp_path / "vision-zoo" / "records.sqlite")
