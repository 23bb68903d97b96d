"""Rooms stay small: a file of at most 400 lines, a function of at most 50, or a reason written here."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FILE_LINES = 400
FUNCTION_LINES = 50

# What may be larger, as "path/below/src.py" or "path/below/src.py:Qualified.name", and why splitting it would be worse.
REASONS: dict[str, str] = {}


def function_lengths(source: str) -> Iterator[tuple[str, int]]:
    """Each function of a module by qualified name, with its lines from `def` to end, its docstring apart."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (child.end_lineno or child.lineno) - child.lineno + 1
                first = child.body[0]
                if ast.get_docstring(child, clean=False) is not None:
                    lines -= (first.end_lineno or first.lineno) - first.lineno + 1
                yield prefix + child.name, lines
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            else:
                yield from walk(child, prefix)

    yield from walk(ast.parse(source), "")


def oversized(path: Path) -> dict[str, int]:
    """What in one file is larger than its budget."""
    name = path.relative_to(ROOT / "src").as_posix()
    text = path.read_text()
    found = {f"{name}:{function}": lines for function, lines in function_lengths(text) if lines > FUNCTION_LINES}
    if (lines := len(text.splitlines())) > FILE_LINES:
        found[name] = lines
    return found


def test_no_file_or_function_outgrows_its_budget() -> None:
    found = {name: lines for path in SOURCES for name, lines in oversized(path).items()}
    assert {name: lines for name, lines in found.items() if name not in REASONS} == {}


def test_every_reason_is_still_needed_and_says_something() -> None:
    needed = {name for path in SOURCES for name in oversized(path)}
    assert set(REASONS) <= needed
    assert [name for name, reason in REASONS.items() if len(reason.split()) < 8] == []


def test_a_function_is_measured_without_its_docstring_and_with_what_is_nested() -> None:
    source = '''
class A:
    async def f(self):
        """One.

        Two."""
        def g():
            pass
        return g
'''
    assert dict(function_lengths(source)) == {"A.f": 4, "A.f.g": 2}
