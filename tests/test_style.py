"""The rules of the house that a machine can keep; CONTRIBUTING.md says why."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    ROOT / name for name in subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True).split()
)
PRODUCT = [file for file in FILES if file.relative_to(ROOT).parts[0] in ("app.py", "ui", "engine", "explain", "zoo")]
ZOO = [file for file in PRODUCT if "zoo" in file.relative_to(ROOT).parts[:1]]
# What each part may import of the others: no arrow runs upward.
BELOW = {
    "app.py": {"ui"},
    "ui": {"ui", "engine", "explain", "zoo"},
    "engine": {"engine", "explain", "zoo"},
    "explain": {"explain", "zoo"},
    "zoo": {"zoo"},
}
ORACLES = {"timm", "torchvision", "fastervit"}


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imports(file: Path) -> list[str]:
    """Modules that a file imports, in full."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def each(files: list[Path]):
    return pytest.mark.parametrize("file", files, ids=name)


@each(FILES)
def test_no_file_is_over_400_lines_and_no_function_over_50(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{node.name} is too long to read"


@each(PRODUCT)
def test_imports_run_downward(file):
    part = file.relative_to(ROOT).parts[0]
    others = {module.partition(".")[0] for module in imports(file)}
    assert others & set(BELOW) <= BELOW[part]
    assert not others & ORACLES
    assert "gradio" not in others or part in ("ui", "app.py")


def test_no_circle_of_imports():
    """Leave out, again and again, the modules whose imports are all left out already: in the end none is left."""
    files = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in PRODUCT}
    needs = {module: needed(file, set(files)) - {module} for module, file in files.items()}
    while free := [module for module, below in needs.items() if not below & set(needs)]:
        for module in free:
            del needs[module]
    assert not needs


def needed(file: Path, modules: set[str]) -> set[str]:
    """Modules of ours that a file imports; a package counts only where something of its own is asked for."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            asked = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= asked if asked <= modules else {*asked, node.module}
    return found & modules


@each(ZOO)
def test_no_core_module_of_the_zoo_knows_a_family(file):
    inside = file.relative_to(ROOT / "zoo").parts
    families = [module for module in imports(file) if module.startswith("zoo.families.")]
    assert not families or inside[0] == "families"
    if inside[0] == "layers" or inside[-1] == "probe.py":
        assert not [module for module in imports(file) if module.startswith(("zoo.registry", "zoo.base"))]


def classes(file: Path) -> list[ast.ClassDef]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)]


@each([file for file in ZOO if file.parent.name in ("layers", "families")])
def test_a_module_says_its_shapes(file):
    """B images, C channels, H x W grid, N tokens: (B, C, H, W) -> (B, N, C)."""
    for node in classes(file):
        if any(isinstance(item, ast.FunctionDef) and item.name == "forward" for item in node.body):
            text = ast.get_docstring(node) or ""
            said = re.search(r"\((B|\.\.\.),|\(B \*", text) and "->" in text
            assert said, f"{node.name} does not say its shapes"


@each([file for file in ZOO if file.parent.name == "families"])
def test_a_config_says_what_its_fields_are(file):
    lines = file.read_text().splitlines()
    for node in classes(file):
        if node.name.endswith("Config"):
            for field in (item for item in node.body if isinstance(item, ast.AnnAssign)):
                assert "  # " in lines[field.end_lineno - 1], f"{node.name}.{ast.unparse(field.target)} has no comment"


@each([file for file in ZOO if name(file) != "zoo/layers/norm.py"])
def test_norms_that_measure_an_image_go_through_the_probe(file):
    assert not re.search(r"\bnn\.(LayerNorm|GroupNorm)\b|\bF\.(layer_norm|group_norm)\b", file.read_text()) or (
        name(file) == "zoo/probe.py"
    )


@each([file for file in ZOO if file.parent.name in ("layers", "families") and file.name != "act.py"])
def test_activations_are_modules(file):
    """So that a model can be asked which it has: guided backprop is defined for ReLU alone."""
    assert not re.search(
        r"\bF\.(gelu|silu|hardswish|hardsigmoid|softplus|tanh)\(|\.sigmoid\(|\.tanh\(", file.read_text()
    )
