"""The benchmark's table: what is kept, what is skipped, what is computed from it. No clock is read."""

from dataclasses import replace

import pytest
import torch

import zoo
from tools import bench_table
from tools.bench_plot import MARKS, plot
from tools.bench_table import Load, Row
from tools.roofline import Roofline, best, products

ROOF = Roofline(1e11, 4e11, 2e10, ("a", "b", "c"))


def row(path: str, speed: float | None, name: str = "resnet50") -> Row:
    return Row(name, path, 10.0, 12.0, 40, speed)


def test_rows_come_back_as_they_were_written(tmp_path):
    file = tmp_path / "forward.csv"
    rows = [row("zoo fast", 1.5), Row("resnet50", "openvino", note='skipped: no "add", and no "sub"')]
    bench_table.replace(file, rows)
    assert bench_table.read(file, Row) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["forward.csv"]
    load = Load("resnet50", "zoo", 30.0, 40.0, 11, 90.0, 8.5, 0.5, 120.0)
    bench_table.replace(tmp_path / "load.csv", [load])
    assert bench_table.read(tmp_path / "load.csv", Load) == [load]


def test_new_rows_replace_those_of_the_same_architecture_and_path_alone(tmp_path):
    file = tmp_path / "forward.csv"
    old = [row("zoo fast", 1.5), row("zoo plain", 1.0), row("zoo fast", 3.0, "mixer_b16_224")]
    bench_table.replace(file, old)
    bench_table.replace(file, [replace(old[0], speed=2.0)])
    assert bench_table.read(file, Row) == [replace(old[0], speed=2.0), *old[1:]]


def test_what_has_every_path_is_not_measured_again(tmp_path):
    rows = [row("zoo plain", 1.0), Row("resnet50", "openvino", note="skipped: not installed"), row("zoo plain", 1, "b")]
    names, paths = ["c", "resnet50", "b"], ["zoo plain", "openvino"]
    assert bench_table.missing(rows, names, paths) == ["c", "b"]
    assert bench_table.missing(bench_table.read(tmp_path / "forward.csv", Row), names, paths) == names


def test_a_path_that_was_skipped_is_not_in_its_mean():
    rows = [row("zoo fast", 1.0), row("zoo fast", 4.0, "b"), row("zoo fast", None, "c"), row("timm compiled", None)]
    assert bench_table.means(rows) == {"zoo fast": (pytest.approx(2.0), 2)}


def test_the_least_time_is_that_of_the_slower_of_arithmetic_and_memory():
    """He et al. 2015: 25.6 million parameters; 4.1 billion multiply-adds, with the stride in the 3x3 convolution."""
    cost = zoo.cost("resnet50", (224, 224))
    assert ROOF.least_ms(cost, torch.float32) == pytest.approx(1000 * 2 * 4.09e9 / 1e11, rel=0.01)
    assert ROOF.least_ms(cost, torch.bfloat16) == pytest.approx(1000 * 2 * 4.09e9 / 4e11, rel=0.01)
    slow = replace(ROOF, bandwidth=1e8)
    assert slow.least_ms(cost, torch.float32) == pytest.approx(1000 * 4 * 25.56e6 / 1e8, rel=0.01)
    assert slow.least_ms(cost, torch.bfloat16) == pytest.approx(1000 * 2 * 25.56e6 / 1e8, rel=0.01)


def test_the_machine_is_known_again(tmp_path):
    file = tmp_path / "machine.csv"
    assert bench_table.read_machine(file) is None
    bench_table.write_machine(file, bench_table.machine(), ROOF)
    assert bench_table.read_machine(file) == (bench_table.machine(), ROOF)


def test_the_work_of_the_products_is_what_pytorch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    for amount, call in products(torch.float32).values():
        with FlopCounterMode(display=False) as counter:
            call()
        assert counter.get_total_flops() == pytest.approx(amount)


def test_the_best_rate_is_that_of_the_call_with_most_work_in_the_same_time():
    assert best({"little": (1, lambda: None), "much": (1e9, lambda: None)}, 0)[1] == "much"


def test_every_path_but_what_it_is_compared_with_has_a_mark(tmp_path):
    bench_paths = pytest.importorskip("tools.bench_paths", exc_type=ImportError)
    assert set(MARKS) == set(bench_paths.PATHS) - {bench_paths.BASE}
    plot([row("zoo fast", 1.5), row("timm eager", 1.0)], "a machine", tmp_path / "forward.svg")
    assert (tmp_path / "forward.svg").read_text().count("<svg") == 1
