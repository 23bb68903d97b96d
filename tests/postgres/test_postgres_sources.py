"""The SQL files: all of them used, and the indexes they rely on really chosen, also by plans made for empty tables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from servers.postgres import shared
from treadle.engine.plan import Plan, Steps
from treadle.engine.postgres.place import Settings, address
from treadle.engine.postgres.statements import Statements, compiled, statements
from treadle.engine.postgres.steps import Ask, columns, literal, numbers, texts
from treadle.engine.postgres.store import PostgresStore
from treadle.model.filter import Filter, Order

ROOM = Path(__file__).parents[2] / "src" / "treadle" / "engine" / "postgres"
PLACES = [*ROOM.glob("*.py"), ROOM.parent / "alteration.py"]
"""Where parts are named: this engine, and what it leaves to a room for all."""


def test_names_become_places_and_casts_stay() -> None:
    statement = compiled("SELECT :one::int8 + :two::text::int8 WHERE :one::int8 > 0 AND {clock} > 0")
    assert statement.names == ("one", "two")
    assert statement.text.startswith("SELECT $1::int8 + $2::text::int8 WHERE $1::int8 > 0 AND (date_part(")


def test_every_part_is_used_somewhere() -> None:
    code = "\n".join([*(path.read_text() for path in PLACES), *(f'"{order}"' for order in Order)])
    built = {f"by-{name}".replace("_", "-") for name in Filter.__slots__}
    parts = [name.split("/")[1] for name in statements("treadle").names()]
    assert [part for part in parts if f'"{part}"' not in code and part not in built] == []


def test_the_namespace_is_in_every_statement() -> None:
    sql = Statements("shop")
    names = [name.split("/") for name in sql.names()]
    unnamed = {"clock", "numbers", "lock", "matching", "grouped", "groups", "newest", "oldest", "altered", "mark-held"}
    unnamed |= {"lie", "rise", "writers"}  # who sleeps on channels, whose names begin with the namespace
    for verb, part in names:
        text = sql(verb, part).text
        assert "{ns}" not in text
        assert "treadle." not in re.sub(
            "'treadle[.](gates|candidates|lines|names|keys|limits)'", "", text
        )  # settings, not tables
        assert "shop." not in text  # bare, it could be a word of SQL's own
        assert (
            '"shop".' in text
            or "'shop" in text
            or part in unnamed
            or part.startswith("by-")
            or (verb, part) == ("enqueue", "edges")
        )


@pytest.mark.parametrize(
    "values",
    [
        ["plain", "", "NULL", "null", 'a "quoted" word', "back\\slash", "{braces}, and commas", "line\nbreak", "ümlaut ✓"],
        [1, -7, 2**62],
        [0.5, 1e-07, 1e300, -0.0],
        [True, False],
        [None, "x", None],
        [],
    ],
)
def test_arrays_arrive_as_they_were(store: PostgresStore, values: list[Any]) -> None:
    first = next((value for value in values if value is not None), "")
    kind = {str: "text", int: "int8", float: "float8", bool: "boolean"}[type(first)]

    def begin() -> Steps[Any]:
        return (yield Ask(compiled(f"SELECT e FROM unnest(:given::text::{kind}[]) AS e"), {"given": literal(values)}))

    session = store.session()
    assert [row[0] for row in session.run(Plan("read", begin))] == values
    session.close()


def test_the_short_ways_of_writing_arrays_say_the_same() -> None:
    assert numbers([1, 2]) == literal([1, 2])
    assert texts(["a", 'b"\\']) == literal(["a", 'b"\\'])
    assert texts([]) == literal([]) == "{}"
    assert texts([""]) == literal([""]) == '{""}'
    assert columns(("a", "b"), [(1, "x"), (2, None)]) == {"a": "{1,2}", "b": '{"x",NULL}'}
    assert columns(("a", "b"), []) == {"a": "{}", "b": "{}"}


CHOSEN = [
    ("claim", ("take",), ("live_ready", "live_suspects", "leases_id", "jobs_pkey", "Tid Scan")),
    ("settle", ("complete", "refused"), ("live_pkey", "finished_pkey")),
    ("settle", ("complete", "leave-lines", "refused"), ("live_pkey", "finished_pkey", "lines_pkey")),
    ("aftermath", ("leave-waited-for",), ("finished_pkey", "live_turns")),
    ("settle", ("held",), ("live_pkey",)),
    ("settle", ("already",), ("finished_pkey",)),
    ("edges", ("met",), ("edges_open", "finished_pkey")),
    ("edges", ("any-open",), ("edges_open",)),
    ("edges", ("waiting",), ("edges_open",)),
    ("promote", ("late",), ("live_start_by",)),
    ("promote", ("queue",), ("live_due",)),
    ("promote", ("next",), ("live_due",)),
    ("renew", ("cancels",), ("live_cancels",)),
    ("prune", ("old",), ("finished_age",)),
    ("enqueue", ("known",), ("jobs_id",)),
    ("note", ("write",), ("live_pkey",)),
    ("shared", ("reenter",), ("live_pkey",)),
    ("wake", ("notify",), ("idle_pkey",)),
    ("claim", ("gated",), ("live_gated", "flows_pkey")),
    ("claim", ("hold",), ("live_pkey",)),
    (
        "clear",
        ("walk", "weigh", "start"),
        (
            "live_ready",
            "live_suspects",
            "live_gated",
            "live_holding",
            "slots_at",
            "parked_at",
            "gates_closed",
            "lines_pkey",
            "gates_pkey",
            "records_pkey",
            "jobs_pkey",
            "Tid Scan",
        ),
    ),
    ("clear", ("walk", "turns", "start"), ("live_ready", "live_gated", "lines_pkey", "jobs_pkey", "Tid Scan")),
    ("claim", ("start",), ("live_pkey", "jobs_pkey")),
    ("flows", ("unplace",), ("flows_pkey", "lines_pkey", "live_pkey")),
    ("flows", ("let-go",), ("slots_of", "live_pkey")),
    ("flows", ("freed",), ("flows_pkey", "parked_at", "live_pkey")),
    ("flows", ("rooms",), ("live_holding", "slots_at", "parked_at")),
    ("flows", ("watch",), ("live_holding", "slots_at", "gates_pkey")),
    ("flows", ("add-gates",), ("gates_pkey",)),
    ("flows", ("put-gates",), ("gates_pkey",)),
    ("flows", ("old-starts",), ("starts_pkey",)),
    ("flows", ("log",), ("starts_pkey",)),
    ("flows", ("heads",), ("parked_at",)),
    ("flows", ("throttle",), ("gates_pkey",)),
    ("flows", ("first",), ("flows_pkey", "lines_pkey", "live_turns")),
    ("flows", ("ends",), ("flows_pkey",)),
    ("flows", ("unplaced",), ("flows_pkey",)),
    ("flows", ("come-back",), ("live_pkey",)),
    ("flows", ("block",), ("live_pkey",)),
    ("claim", ("first",), ("lines_pkey",)),
    ("claim", ("chosen",), ("live_pkey", "jobs_pkey")),
    ("flows", ("lock-gates",), ("gates_pkey", "parked_at")),
]


WORN = {
    "edges": "(child, parent, on_dead, open) SELECT {i} * 3 + g, 7, 'hold', true",
    "slots": "(n, name, key) SELECT {i} * 3 + g, 'a' || g, 'b'",
    "parked": "(n, cost, seq, priority, name, key) SELECT {i} * 3 + g, 1, 7, 0, 'a' || g, 'b'",
    "lines": "(place, n, line) SELECT {i} * 3 + g, {i} * 3 + g, 'a'",
    "flows": "(n, stop) SELECT {i} * 3 + g, false",
    "gates": "(tat, interval, closed_until, name, key) SELECT 0, 0, 0, 'a' || g, {i}",
    "starts": "(at, cost, name, key) SELECT {i} * 3 + g, 1, 'a', 'b'",
}


@pytest.fixture(scope="module")
def worn() -> Iterator[PostgresStore]:
    """A store that is empty again: its indexes are as large as use has left them, some with a root above one leaf."""
    server = shared()
    with server.lent() as name:
        url = server.url(name)
        with psycopg.connect(url, autocommit=True) as connection:
            for table, row in WORN.items():
                insert = row.format(i="i")
                connection.execute(
                    f"""DO $$ BEGIN
                        FOR round IN 1..60 LOOP
                            FOR i IN 0..9 LOOP
                                INSERT INTO treadle.{table} {insert} FROM generate_series(1, 3) AS g;
                                COMMIT;
                            END LOOP;
                            DELETE FROM treadle.{table};
                            COMMIT;
                        END LOOP;
                    END $$""".encode()
                )
        store = PostgresStore(address(url, ()), settings=Settings(timeout=30.0))
        yield store
        store.close()


def explained(store: PostgresStore, verb: str, parts: tuple[str, ...]) -> str:
    """The plan that a session makes on empty tables and keeps."""
    with psycopg.connect(store.location, autocommit=True) as connection:
        # The worst that statistics can say: that pages hold nothing.
        connection.execute(
            "INSERT INTO treadle.live (n, seq, state, queue, priority, task) VALUES (1, 1, 'queued', 'q', 0, 't')"
        )
        connection.execute("DELETE FROM treadle.live")
        connection.execute("ANALYZE")
        connection.execute(store._settings(local=False))
        rows = connection.execute(
            f"EXPLAIN (COSTS OFF, GENERIC_PLAN) {store.statements(verb, *parts).text}".encode()
        ).fetchall()
    return "\n".join(str(row[0]) for row in rows)


@pytest.mark.parametrize(
    ("verb", "parts", "indexes"), CHOSEN, ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
@pytest.mark.parametrize("state", ["store", "worn"])
def test_the_index_is_chosen(
    request: pytest.FixtureRequest, state: str, verb: str, parts: tuple[str, ...], indexes: tuple[str, ...]
) -> None:
    plan = explained(request.getfixturevalue(state), verb, parts)
    assert [index for index in indexes if index not in plan] == []
    tables = "live|jobs|finished|edges|flows|lines|parked|slots"
    assert not re.search(rf"Seq Scan on ({tables})|Merge Join|Hash (Left )?Join\n.*\n.*on (live|jobs)", plan)
    # What is hashed for a batch is read whole.
    hashed = re.findall(r"hashed (SubPlan \d+)", plan)
    assert [each for each in hashed if not re.search(rf" {each}\n\s+->  CTE Scan ", plan)] == []
    # Whoever is looked up for each of a batch is looked up by an index condition.
    assert not re.search(
        r"Scan using (live|jobs|finished|gates|flows|lines|starts|parked)_pkey on \w+ \w+(\n(?!\s+Index Cond)|$)", plan
    )


@pytest.mark.parametrize(
    ("verb", "parts"),
    [
        ("claim", ("take",)),
        ("claim", ("ungated",)),
        ("claim", ("gated",)),
        ("clear", ("walk", "weigh", "start")),
        ("clear", ("walk", "turns", "start")),
    ],
)
@pytest.mark.parametrize("state", ["store", "worn"])
def test_a_claim_passes_by_what_others_run_in_the_index(
    request: pytest.FixtureRequest, state: str, verb: str, parts: tuple[str, ...]
) -> None:
    """An executor to which none of 30,000 gated jobs belonged read each of them twice, in 45 ms."""
    plan = explained(request.getfixturevalue(state), verb, parts)
    walks = re.findall(r"Index Scan using live_(?:ready|gated) on live \w+\n\s+(.*)", plan)
    assert walks
    assert [each for each in walks if "task = ANY" not in each or not each.startswith("Index Cond")] == []
