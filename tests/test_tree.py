"""Tests mirror the tree of the code, and share only helpers."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def imported(file: Path) -> set[str]:
    """The modules that a file imports from."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return named | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_no_test_module_imports_another():
    for file in TESTS.rglob("*.py"):
        assert not [name for name in imported(file) if name.rpartition(".")[2].startswith("test_")], file.name


def test_every_folder_of_tests_is_one_of_the_code():
    for file in TESTS.rglob("test_*.py"):
        folder = file.parent.relative_to(TESTS)
        here = TESTS.parent / folder
        assert here.is_dir() or here.with_suffix(".py").is_file(), folder
