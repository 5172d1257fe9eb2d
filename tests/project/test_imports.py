"""The shape of the package: one direction, one place for each thing that must have one place only."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tikhub_mcp

PACKAGE = Path(tikhub_mcp.__file__).parent

# A module imports only from its left. What a link passes through, and then what serves the people who paste it.
LEFT_TO_RIGHT = """
    isolation errors text settings links answer aweme post retry streams reasons network client names files edits
    changes hosts mp4 transfer download videos archive locks moments call unfinished work jobs parts columns fields
    snapshots cells spool tables workbook report summary replies batch tools wire lifetime server sandbox demo shown
    findings reach doctor terminal cli __main__
"""
ORDER = LEFT_TO_RIGHT.split()
FILES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
MODULES = {name.partition(".")[0] for name in FILES} - {"__init__"}
HTTPX = {"reasons", "network", "client", "transfer"}
SANDBOX_USERS = {"demo", "doctor", "cli"}
ENVIRONMENT = {"settings", "isolation"}  # the second runs before any other may be imported


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it: names from tikhub_mcp itself as modules where they are."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute, for `mcp dev`"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    parts = (name.split(".") for name in imports(path))
    return {name[1] for name in parts if name[0] == "tikhub_mcp" and len(name) > 1} & MODULES


def calls(path: Path) -> Iterator[str]:
    """The names of everything that a file calls or takes an attribute of, as far as they are plain."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield f"{ast.unparse(node.func)}()"
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def test_the_order_names_every_module_once() -> None:
    assert sorted(ORDER) == sorted(MODULES)


@pytest.mark.parametrize("name", FILES)
def test_a_module_imports_only_from_its_left(name: str) -> None:
    module = name.partition(".")[0]
    if module == "__init__":
        assert not ours(FILES[name])
    elif module == "sandbox":
        assert ours(FILES[name]) <= {"sandbox"}
    else:
        assert not ours(FILES[name]) - set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("name", FILES)
def test_what_has_one_place_is_nowhere_else(name: str) -> None:
    module, imported, called = name.partition(".")[0], set(imports(FILES[name])), set(calls(FILES[name]))
    roots = {import_.partition(".")[0] for import_ in imported}
    assert "print()" not in called or module in {"cli", "terminal"}
    assert "httpx" not in roots or module in HTTPX
    assert "sandbox" not in ours(FILES[name]) or module in SANDBOX_USERS | {"sandbox"}
    assert not {"os.environ", "os.getenv", "os.getenv()", "os.environb"} & called or module in ENVIRONMENT
    assert not {import_ for import_ in imported if import_.startswith(("os.environ", "os.getenv"))}


def test_what_leaves_the_working_directory_out_imports_nothing_that_python_has_not_loaded() -> None:
    assert set(imports(FILES["isolation"])) == {"os", "sys"}
    before, _, _ = FILES["__main__"].read_text(encoding="utf-8").partition("def main")
    assert [line for line in before.splitlines() if "import " in line and '"""' not in line] == [
        "import sys",
        "from tikhub_mcp.isolation import leave_out_working_directory",
    ]


def test_no_module_shadows_one_of_the_standard_library() -> None:
    # `mcp dev FILE` puts the file's folder first on the path.
    assert not MODULES & sys.stdlib_module_names
    assert not MODULES & {"mcp", "httpx", "pydantic", "rich", "httpcore", "starlette", "uvicorn", "truststore", "anyio"}


def test_the_reader_of_imports_sees_those_inside_functions() -> None:
    assert {"demo", "server", "sandbox", "jobs"} <= ours(FILES["cli"])
