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


def parts(path: Path) -> dict[str, tuple[str, list[str]]]:
    """The statements of a file by name: the comment above each, and its lines."""
    found: dict[str, tuple[str, list[str]]] = {}
    for text in path.read_text().split("-- part: ")[1:]:
        name, _, rest = text.partition("\n")
        lines = rest.strip().splitlines()
        comment = " ".join(line[3:] for line in lines if line.startswith("-- "))
        found[name] = (comment, [line for line in lines if not line.startswith("--")])
    return found


def test_a_file_of_sql_says_what_it_is_for() -> None:
    assert STATEMENTS
    assert MIGRATIONS
    assert [path for path in STATEMENTS + MIGRATIONS if not re.match(r"-- (?!part:)\S+ \S+", path.read_text())] == []


def test_a_statement_longer_than_two_lines_says_what_it_does() -> None:
    # Shorter ones, and pieces that are put together to one statement, say it themselves.
    pieces = {"matching"}
    statements = {
        f"{path.stem}.{name}": part for path in STATEMENTS for name, part in parts(path).items() if name not in pieces
    }
    assert [name for name, (comment, lines) in statements.items() if len(lines) > 2 and not comment] == []


def test_an_index_that_a_statement_relies_on_exists() -> None:
    schema = "\n".join(path.read_text() for path in MIGRATIONS)
    indexes = set(re.findall(r"CREATE (?:UNIQUE )?INDEX (?:\{ns\}_)?(\w+)", schema))
    tables = set(re.findall(r"CREATE (?:UNLOGGED )?TABLE \{ns\}[_.](\w+)", schema))
    relied: set[str] = set()
    for path in STATEMENTS:
        for comment, _ in parts(path).values():
            for names in re.findall(r"Relies on ([\w, ]+)\.", comment):
                names = re.sub(r"the (?:primary keys?|unique ids?) of", "", names).replace(",", " ")
                relied.update(names.replace(" and ", " ").split())
    assert relied - indexes - tables == set()
    assert indexes - relied == set(), "an index that no statement relies on is only paid for"


def test_a_migration_is_numbered() -> None:
    assert [path for path in MIGRATIONS if not re.match(r"^\d{4}_[a-z0-9_]+$", path.stem)] == []
