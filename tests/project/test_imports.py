"""The shape of the package: folders in levels, one place for each thing that must have one place only."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import tikhub_mcp

PACKAGE = Path(tikhub_mcp.__file__).parent

# A folder, or a module beside the folders, imports only from the lines above its own, and from itself.
LEVELS = """
    isolation errors messages text concurrency
    settings posts net
    api storage stdio
    media summary install
    jobs doctor
    tools
    extensions
    server
    serve
    cli
    __main__
"""
LEVEL = {name: number for number, line in enumerate(LEVELS.strip().splitlines()) for name in line.split()}
FILES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__") for name in FILES} - {"__init__"}
TOP = {name.partition(".")[0] for name in MODULES}
FOLDERS = sorted(name.removesuffix(".__init__") for name in FILES if name.endswith(".__init__"))
HTTPX = {
    "api.client",
    "doctor.connectivity",
    "media.transfer",
    "net.answered",
    "net.guard",
    "net.reasons",
    "net.transport",
}
ENVIRONMENT = {"isolation", "messages", "settings"}
MAX_MODULES, MAX_LINES, MAX_FUNCTION_LINES = 13, 350, 50  # of a folder, of a module, of a function


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it: names from tikhub_mcp itself as modules where they are."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute, for `mcp dev`"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """The modules of this package that a file imports, without `tikhub_mcp.` before them."""
    found = set()
    for name in imports(path):
        parts = name.split(".")[1:] if name.split(".")[0] == "tikhub_mcp" else []
        known = [".".join(parts[:end]) for end in range(1, len(parts) + 1) if ".".join(parts[:end]) in MODULES]
        found |= set(known[-1:])
    return found


def calls(path: Path) -> Iterator[str]:
    """The names of everything that a file calls or takes an attribute of, as far as they are plain."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            yield f"{ast.unparse(node.func)}()"
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def test_the_table_names_every_folder_and_every_module_beside_them_once() -> None:
    assert sorted(LEVELS.split()) == sorted(TOP - {"sandbox"})


@pytest.mark.slow
def test_a_module_imports_only_from_its_folder_and_from_the_levels_below() -> None:
    for name, path in FILES.items():
        folder = name.partition(".")[0]
        imported = {other.partition(".")[0] for other in ours(path)} - {folder}
        if folder in ("__init__", "sandbox"):
            assert not imported, name
        else:
            users = {"doctor", "cli"}  # of the sandbox
            above = {other for other in imported - {"sandbox"} if LEVEL[other] >= LEVEL[folder]}
            assert not above, name
            assert "sandbox" not in imported or folder in users, name


@pytest.mark.parametrize("folder", sorted(TOP))
def test_within_a_folder_no_import_leads_back(folder: str) -> None:
    inside = {name: path for name, path in FILES.items() if name.startswith(f"{folder}.") and "__init__" not in name}
    left = {name: ours(path) & inside.keys() - {name} for name, path in inside.items()}
    while ready := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in ready}
    assert not left


@pytest.mark.slow
def test_what_has_one_place_is_nowhere_else() -> None:
    for name, path in FILES.items():
        folder, imported, called = name.partition(".")[0], set(imports(path)), set(calls(path))
        roots = {import_.partition(".")[0] for import_ in imported}
        assert "print()" not in called or folder == "cli", name
        assert "httpx" not in roots or name in HTTPX, name
        assert not {"os.environ", "os.getenv", "os.getenv()", "os.environb"} & called or folder in ENVIRONMENT, name
        assert not {import_ for import_ in imported if import_.startswith(("os.environ", "os.getenv"))}, name


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_says_what_it_is_for_and_is_not_too_large(name: str) -> None:
    modules = [other for other in FILES if other.rpartition(".")[0] == name and not other.endswith("__init__")]
    assert len(modules) <= MAX_MODULES
    body = ast.parse(FILES[f"{name}.__init__"].read_text(encoding="utf-8")).body
    assert isinstance(body[0], ast.Expr)
    assert len(body) == 1 or name == "sandbox"  # whatever it has is imported from where it is


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_says_which_other_folders_it_imports(name: str) -> None:
    if name == "sandbox":
        return
    inside = {other for other in FILES if other.partition(".")[0] == name}
    imported = {other.partition(".")[0] for module in inside for other in ours(FILES[module])} - {name}
    docstring = " ".join(
        (ast.get_docstring(ast.parse(FILES[f"{name}.__init__"].read_text(encoding="utf-8"))) or "").split()
    )
    sentence = docstring.partition("May import ")[2].partition("the modules beside the folders.")[0]
    assert set(re.findall(r"[a-z]+", sentence)) - {"and", "only"} == imported & {*FOLDERS, "server"}


def test_a_function_is_not_longer_than_a_screen() -> None:
    for name, path in FILES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, (name, node.name)


def test_a_module_is_not_too_long() -> None:
    for name, path in FILES.items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES, name


def test_no_module_shadows_one_of_the_standard_library_or_of_a_dependency() -> None:
    # `mcp dev FILE` puts the file's folder first on the path.
    assert not TOP & sys.stdlib_module_names
    assert not TOP & packages_distributions().keys()


def test_the_reader_of_imports_sees_those_inside_functions() -> None:
    assert {"server"} <= ours(FILES["cli.main"])
    assert {"jobs.scheduler"} <= ours(FILES["cli.running"])
    assert {"cli.demo"} <= ours(FILES["cli.parser"])


def test_what_leaves_the_working_directory_out_imports_nothing_that_python_has_not_loaded() -> None:
    assert set(imports(FILES["isolation"])) == {"os", "sys"}
    before, _, _ = FILES["__main__"].read_text(encoding="utf-8").partition("def main")
    assert [line for line in before.splitlines() if "import " in line and '"""' not in line] == [
        "import sys",
        "from tikhub_mcp.isolation import leave_out_working_directory",
    ]


def defined(path: Path) -> Iterator[str]:
    """The public classes, functions and constants at the top of a module."""
    for node in parsed(path).body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            makes = ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ""
            if makes not in ("TypeVar", "ParamSpec", "logging.getLogger"):  # of which each module has its own
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        yield from (name for name in names if not name.startswith("_") and name not in ("main", "run"))


@pytest.mark.slow
def test_no_public_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for name, path in FILES.items():
        for public in defined(path):
            places.setdefault(public, []).append(name)
    assert not {public: names for public, names in places.items() if len(names) > 1}
