"""Executable style: size, exports, swallowed errors, sleeps and words. Every exemption carries its reason."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator

import pytest

from tests.support.tree import ROOT, module_name, modules, python_files, text_files

FILE_LINES = 400
TEST_FILE_LINES = 600  # cases and stories are read one by one
FUNCTION_LINES = 70

LONG_FILES: dict[str, str] = {}
"""Path -> why it may be longer than `file_limit` says."""

LONG_FUNCTIONS: dict[str, str] = {}
"""module.function -> why it may be longer than FUNCTION_LINES."""

MAY_SLEEP: dict[str, str] = {
    "tests.support.wait": "polls a condition with a deadline",
    "tests.support.servers": "polls a starting server with a deadline",
}
"""Modules of the tests that may call time.sleep -> why."""

HOUSE = ("steerd", "probes", "tests", *(["benchmarks"] if (ROOT / "benchmarks").is_dir() else []))


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        else:
            yield from functions(node, prefix)


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def swallows(handler: ast.ExceptHandler) -> bool:
    """True for `except:`, `except Exception:` and `except BaseException:` that neither tell nor raise."""
    names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else {"BaseException"}
    if not names & {"Exception", "BaseException"}:
        return False
    return not any(
        isinstance(n, ast.Raise | ast.Call | ast.Assign | ast.AugAssign | ast.Yield) for n in _nodes(handler)
    )


def _nodes(handler: ast.ExceptHandler) -> Iterator[ast.AST]:
    for statement in handler.body:
        yield from ast.walk(statement)


def suppresses(node: ast.AST) -> bool:
    """True for contextlib.suppress(Exception) and the like."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) not in {"suppress", "contextlib.suppress"}:
        return False
    return bool({ast.unparse(arg) for arg in node.args} & {"Exception", "BaseException"})


def file_limit(path: str) -> int:
    return TEST_FILE_LINES if path.startswith("tests/") else FILE_LINES


def test_files_are_short() -> None:
    long = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in python_files(*HOUSE)}
    over = {path: lines for path, lines in long.items() if lines > file_limit(path) and path not in LONG_FILES}
    assert over == {}, "too long: split by idea"
    assert [path for path in LONG_FILES if long.get(path, 0) <= file_limit(path)] == [], "exemptions not needed"


def test_functions_are_short() -> None:
    found = {
        f"{module}.{name}": length(node) for module, tree in modules(*HOUSE).items() for name, node in functions(tree)
    }
    over = {name: lines for name, lines in found.items() if lines > FUNCTION_LINES and name not in LONG_FUNCTIONS}
    assert over == {}, f"over {FUNCTION_LINES} lines: split by idea"
    assert [name for name in LONG_FUNCTIONS if found.get(name, 0) <= FUNCTION_LINES] == [], "exemptions not needed"


def test_no_error_is_swallowed() -> None:
    found = [
        f"{module}:{getattr(node, 'lineno', 0)}"
        for module, tree in modules("steerd", "probes").items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ExceptHandler) and swallows(node)) or suppresses(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("try:\n    f()\nexcept Exception:\n    pass", True),
        ("try:\n    f()\nexcept:\n    return_value = 1", False),
        ("try:\n    f()\nexcept (ValueError, BaseException):\n    ...", True),
        ("try:\n    f()\nexcept Exception:\n    log.exception('x')", False),
        ("try:\n    f()\nexcept Exception:\n    raise Other from None", False),
        ("try:\n    f()\nexcept OSError:\n    pass", False),
        ("with suppress(Exception):\n    f()", True),
        ("with contextlib.suppress(OSError):\n    f()", False),
    ],
)
def test_the_check_knows_swallowing(source: str, bad: bool) -> None:
    nodes = list(ast.walk(ast.parse(source)))
    assert any((isinstance(n, ast.ExceptHandler) and swallows(n)) or suppresses(n) for n in nodes) is bad


@pytest.mark.parametrize("module", [name for name in modules("steerd", "probes") if not name.endswith("__main__")])
def test_exports_exist(module: str) -> None:
    loaded = importlib.import_module(module)
    exported = getattr(loaded, "__all__", [])
    assert [name for name in exported if not hasattr(loaded, name)] == []
    assert len(set(exported)) == len(exported)


def test_tests_do_not_sleep() -> None:
    """A stall that is itself under test says so where it stands: `# noqa: ASYNC251 - why`."""
    found = []
    for file in python_files("tests"):
        lines = file.read_text().splitlines()
        if module_name(file) not in MAY_SLEEP:
            found += [
                f"{file.relative_to(ROOT)}:{node.lineno}"
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
                if not re.search(r"# noqa: ASYNC251 +-? *\w", lines[node.lineno - 1])
            ]
    assert found == [], "wait for a condition instead: tests.support.wait"


# Each pattern is put together here, so that this file does not match itself.
FORBIDDEN = {
    "an absolute path of one machine": re.compile(r"(?<![\w.-])/(?:root|home/(?!user\b)\w+|work|Users)" + r"/"),
    "the package index has an unrelated project of this name": re.compile(
        r"pip3? install (?:-\S+ )*['\"]?" + r"steerd\b"
    ),
    "no registry host belongs in the tree": re.compile(
        r"pypi\." + r"org|python" + r"hosted|registry\.npm" + r"js|deb\.debian\." + r"org"
    ),
    "unfinished work belongs in an issue": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
    "a merge left this behind": re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE),
}


def words(text: str) -> list[str]:
    return [f"{why}: {match.group()!r}" for why, pattern in FORBIDDEN.items() for match in pattern.finditer(text)]


@pytest.mark.parametrize("room", sorted({p.relative_to(ROOT).parts[0] for p in text_files()}))
def test_words(room: str) -> None:
    found = {
        str(path.relative_to(ROOT)): bad
        for path in text_files()
        if path.relative_to(ROOT).parts[0] == room and (bad := words(path.read_text(errors="replace")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("see /ro" + "ot/x", 1),
        ("pip install -U ste" + "erd", 1),
        ("pip install 'ste" + "erd[aws]'", 1),
        ("pip install .[aws]", 0),
        ("/var/lib/steerd/root/x", 0),
        ("# TO" + "DO later", 1),
    ],
)
def test_the_check_knows_words(text: str, bad: int) -> None:
    assert len(words(text)) == bad


def test_packaging_is_no_package() -> None:
    assert not list((ROOT / "packaging").rglob("__init__.py")), "it would shadow the packaging library"


def test_every_script_can_be_run() -> None:
    scripts = [ROOT / ".ci/run", *(p for p in (ROOT / "scripts").iterdir() if p.name != "lib.sh")]
    for script in scripts:
        assert script.read_text().startswith("#!/usr/bin/env "), script
        assert script.stat().st_mode & 0o111, f"{script} is not executable"
