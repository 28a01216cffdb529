"""The installed wheel is complete: packages, tables, bundled checkpoints and the page's files."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BESIDE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PIP_NO_INDEX": "1"}


def run(folder: Path, *command: str | Path) -> str:
    """Run a command in a folder outside the repository; return what it prints."""
    done = subprocess.run(command, cwd=folder, env=BESIDE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin folder of a new environment with the wheel; of this environment it sees only the dependencies."""
    folder = tmp_path_factory.mktemp("install")
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "runs", "tests", "tools")
    shutil.copytree(ROOT, folder / "source", ignore=unwanted)  # setuptools builds inside the source
    pip = "-m", "pip", "--quiet"
    build = "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source"
    run(folder, sys.executable, *pip, *build)
    shutil.rmtree(folder / "source")
    venv.create(folder / "venv")
    paths = sysconfig.get_paths(vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    dependencies = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (Path(paths["purelib"]) / "dependencies.pth").write_text("\n".join(dependencies))
    scripts = Path(paths["scripts"])
    wheel = next(folder.glob("*.whl"))
    run(folder, scripts / "python", *pip, "install", "--no-deps", "--ignore-installed", wheel)
    return scripts


def test_a_bundled_checkpoint_classifies(installed, tmp_path):
    script = """
import torch, zoo
from zoo import labels
model = zoo.load("resnet32_cifar.cifar10")
print(zoo.__file__, tuple(model(torch.zeros(1, 3, 32, 32)).shape), labels.names("cifar10")[3])
"""
    file, answer = run(tmp_path, installed / "python", "-c", script).split(maxsplit=1)
    assert Path(file).is_relative_to(installed.parent)
    assert answer == "(1, 10) cat\n"


def test_the_wheel_holds_every_file_of_the_packages(installed):
    (wheel,) = installed.parents[1].glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        names = {name for name in held.namelist() if ".dist-info/" not in name}
    packages = "zoo", "explain", "engine", "ui"
    assert {re.split(r"[/.]", name)[0] for name in names} == set(packages)
    for package in packages:
        here = {file for file in (ROOT / package).rglob("*") if file.is_file() and file.suffix != ".pyc"}
        assert {str(file.relative_to(ROOT)) for file in here} <= names


def test_the_command_builds_the_page_and_prints_its_usage(installed, tmp_path):
    script = """
import sys
from importlib.metadata import entry_points
(command,) = entry_points(group="console_scripts", name="vision-zoo")
main = command.load()
from ui.page import LAUNCH, build
build()
assert all(path.is_file() for path in (*LAUNCH["css_paths"], LAUNCH["favicon_path"]))
sys.argv = ["vision-zoo", "--help"]
main()
"""
    assert (installed / "vision-zoo").is_file()
    assert run(tmp_path, installed / "python", "-W", "error", "-c", script).startswith("usage: vision-zoo")
