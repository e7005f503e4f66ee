"""Rules that the code keeps, checked by machine: layers, docstrings, sizes, no shell."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = [CHECKOUT / "lib" / "edurise_backup", CHECKOUT / "flows", CHECKOUT / "dashboard", CHECKOUT / "reports"]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
LONGEST = 350
FOREIGN_PLACES = tuple(f"/{folder}/" for folder in ("work", "root"))


def parsed(path: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(path.read_text())


def relative(path: Path) -> str:
    """Return a module's path in the checkout."""
    return path.relative_to(CHECKOUT).as_posix()


def test_there_are_modules_to_check() -> None:
    assert len(MODULES) > 40


def test_data_runs_forward_a_stage_imports_only_what_lies_before_it() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def calls_with_a_shell(module: ast.Module) -> Iterator[int]:
    """Yield the lines of calls with `shell=` anything but False."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
                    yield node.lineno


def test_no_program_is_called_through_a_shell() -> None:
    found = [f"{relative(path)}:{line}" for path in MODULES for line in calls_with_a_shell(parsed(path))]
    system = [relative(path) for path in MODULES if "os.system(" in path.read_text() or "popen(" in path.read_text()]
    assert found + system == []


def test_every_module_says_what_it_is_for() -> None:
    assert [relative(path) for path in MODULES if not ast.get_docstring(parsed(path))] == []


@pytest.mark.parametrize("name", ["errors", "ports"])
def test_every_error_and_every_promise_of_a_seam_is_documented(name: str) -> None:
    module = parsed(CHECKOUT / "lib" / "edurise_backup" / f"{name}.py")
    silent = [
        node.name
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def broad_handlers(module: ast.Module, lines: list[str]) -> Iterator[int]:
    """Yield the lines of handlers that swallow everything without saying why."""
    for node in ast.walk(module):
        if isinstance(node, ast.ExceptHandler):
            names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {"all"}
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            if (
                names & {"all", "Exception", "BaseException"}
                and not raises
                and "noqa: BLE001" not in lines[node.lineno - 1]
            ):
                yield node.lineno


def test_no_handler_swallows_everything_silently() -> None:
    found = [
        f"{relative(path)}:{line}"
        for path in MODULES
        for line in broad_handlers(parsed(path), path.read_text().splitlines())
    ]
    assert found == []


def test_no_file_of_the_project_knows_this_machine() -> None:
    here = Path(__file__).resolve()
    texts = [path for path in (*MODULES, *(CHECKOUT / "tests").rglob("*.py")) if path != here]
    found = [f"{relative(path)}: {place}" for path in texts for place in FOREIGN_PLACES if place in path.read_text()]
    assert found == []


def test_no_page_shows_what_is_meant_for_readers_of_its_code() -> None:
    """Streamlit shows every bare expression of a page's script, so words beside a constant are a comment there."""
    for path in [CHECKOUT / "dashboard" / "app.py", *sorted((CHECKOUT / "dashboard" / "views").glob("*.py"))]:
        statements = ast.parse(path.read_text()).body[1:]
        shown = [one for one in statements if isinstance(one, ast.Expr) and not isinstance(one.value, ast.Call)]
        assert shown == [], f"{path}:{shown[0].lineno}"
