"""The Python door: the names that someone from the tutorial looks for."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import sharding
import training

DOC = Path(__file__).parents[2] / "docs/from-the-tutorial.md"


@pytest.mark.parametrize("package", [sharding, training])
def test_every_public_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name).__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        package.nonsense  # noqa: B018


def test_the_tutorials_map_names_every_public_name_and_no_other():
    named = set(re.findall(r"`training\.(\w+)", DOC.read_text())) | {"stream", "stream_arguments"}
    assert named == set(training.__all__)


def test_the_files_in_the_tutorials_map_exist():
    for path in re.findall(r"`((?:training|sharding)/[\w/]+\.py)`", DOC.read_text()):
        assert (DOC.parents[1] / path).is_file(), path


def test_the_code_in_the_tutorials_map_imports_what_there_is():
    for code in re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    assert hasattr(importlib.import_module(node.module), alias.name)
