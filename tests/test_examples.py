"""The examples run without changes and without internet, and print the expected text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = {
    "load": ([], "resnet32_cifar.cifar10: 10 outputs, images of 32x32"),
    "classify": (["{photo}"], "%"),
    "explain_photo": (["{photo}", "{out}"], "a map of 7x7 cells"),
    "compare": (["{photo}"], "tf_efficientnet_lite2.pypi_in1k"),
    "add_a_family": ([], "0 batch norms are left of 3"),
}


def test_every_example_is_run():
    assert set(EXAMPLES) == {file.stem for file in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_and_prints_the_expected_text(name, photos, tmp_path):
    args, said = EXAMPLES[name]
    args = [arg.format(photo=photos[0], out=tmp_path / "map.png") for arg in args]
    command = [sys.executable, "-W", "error", ROOT / "examples" / f"{name}.py", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    if "{out}" in EXAMPLES[name][0]:
        assert (tmp_path / "map.png").stat().st_size > 1000
