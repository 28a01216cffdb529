"""The paths of the benchmark give the same answer, and one that fails says why."""

import pytest
import torch

pytest.importorskip("tools.oracle", exc_type=ImportError)

from tools import bench_paths
from tools.roofline import Roofline

pytestmark = pytest.mark.oracle
ROOF = Roofline(1e11, 1e11, 1e10, ("", "", ""))


@pytest.fixture(scope="module")
def subject():
    return bench_paths.Subject("mobilenetv2_035")


def test_paths_agree_and_a_failure_is_a_note(subject, monkeypatch):
    def fails(_):
        raise RuntimeError("no kernel\nmore about it")

    monkeypatch.setitem(bench_paths.PATHS, "onnxruntime", fails)
    paths = ["zoo plain", "timm eager", "timm channels last", "onnxruntime", "openvino"]
    rows = {row.path: row for row in bench_paths.compare(subject, paths, ROOF, seconds=0, least=1)}
    assert list(rows) == paths
    assert rows["onnxruntime"].note == "skipped: no kernel"
    assert rows["openvino"].note.startswith("skipped: ")  # nothing was exported
    assert rows["onnxruntime"].median_ms is None
    for path in paths[:3]:
        assert rows[path].largest > 0.1
        assert rows[path].difference < 1e-4 * rows[path].largest
    assert rows["timm eager"].speed == 1


def test_no_layer_is_silent(subject):
    """A weight that is all zeros would hide what a path does to the layers around it."""
    weights = subject.theirs.state_dict()
    assert all(value.any() for key, value in weights.items() if value.is_floating_point()), weights.keys()
    assert torch.equal(weights["classifier.weight"], subject.ours.state_dict()["classifier.weight"])


def test_what_was_left_is_said_in_words():
    assert bench_paths.left_in_words({}) == ""
    assert bench_paths.left_in_words({"": "why"}) == "not accelerated: why"
    assert bench_paths.left_in_words({"a.b": "why", "c": "?"}) == "2 left as they were, a.b: why"
