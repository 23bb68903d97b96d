"""What the house forbids and asks of every file, said once and checked."""

import ast
import re
from pathlib import Path

import treadle

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "treadle"
SOURCES = sorted(PACKAGE.rglob("*.py"))
STATEMENTS = sorted(path for path in PACKAGE.rglob("*.sql") if path.parent.name == "sql")
MIGRATIONS = sorted(path for path in PACKAGE.rglob("*.sql") if path.parent.name == "schema")

# Names that say nothing about what is inside.
NAMELESS = re.compile(r"^(utils?|helpers?|common|base|managers?|misc|lib)$")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


def test_a_room_is_named_for_what_it_holds() -> None:
    nameless = [path for path in SOURCES if any(map(NAMELESS.match, path.relative_to(PACKAGE).with_suffix("").parts))]
    assert nameless == []


def test_nothing_is_left_unfinished() -> None:
    found = {path: UNFINISHED.findall(path.read_text()) for path in SOURCES + STATEMENTS + MIGRATIONS}
    assert {path: words for path, words in found.items() if words} == {}


def unpromised(path: Path) -> list[str]:
    """What a module defines in public without a word about it; an overload is promised at its implementation."""
    tree = ast.parse(path.read_text())
    found = [] if ast.get_docstring(tree) else ["the module itself"]
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        overload = any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list)
        if not overload and not ast.get_docstring(node):
            found.append(node.name)
    return found


def test_what_a_module_defines_in_public_is_promised_in_words() -> None:
    assert {path: names for path in SOURCES if (names := unpromised(path))} == {}


def test_the_public_names_are_listed_and_promised_in_words() -> None:
    assert len(set(treadle.__all__)) == len(treadle.__all__) > 0
    plain = (str, int, float, bool)
    values = {name: getattr(treadle, name) for name in treadle.__all__}
    assert [name for name, value in values.items() if not isinstance(value, plain) and not (value.__doc__ or "").strip()] == []


def test_a_statement_says_its_purpose_parameters_result_and_index() -> None:
    def missing(path: Path) -> list[str]:
        header = "\n".join(line for line in path.read_text().splitlines() if line.startswith("--")).lower()
        return [word for word in ("purpose", "parameters", "result", "index") if word not in header]

    assert STATEMENTS
    assert {path: words for path in STATEMENTS if (words := missing(path))} == {}


def test_a_migration_says_what_it_brings_and_is_numbered() -> None:
    assert MIGRATIONS
    assert [path for path in MIGRATIONS if not path.read_text().startswith("-- ")] == []
    assert [path for path in MIGRATIONS if not re.match(r"^\d{4}_[a-z0-9_]+$", path.stem)] == []
