"""The SQL files: found by name, all of them used, and the indexes they rely on really chosen."""

import re
from pathlib import Path
from typing import Any

import pytest

from treadle.engine.plan import Plan, Steps
from treadle.engine.source import Source, UnknownSource
from treadle.engine.sqlite.steps import Ask
from treadle.engine.sqlite.store import SqliteStore
from treadle.model.filter import Order

ROOM = Path(__file__).parents[2] / "src" / "treadle" / "engine" / "sqlite"
PLACES = [*ROOM.glob("*.py"), ROOM.parent / "alteration.py"]
"""Where parts are named: this engine, and what it leaves to a room for all."""


def test_an_unknown_name_is_refused() -> None:
    source = Source(ROOM / "sql", "treadle")
    for verb, part in (("claim", "everything"), ("clam", "plain")):
        with pytest.raises(UnknownSource, match="claim/plain"):
            source(verb, part)
    with pytest.raises(UnknownSource):
        source.repeated("enqueue", "nothing", 1)


def test_the_namespace_is_in_every_statement() -> None:
    source = Source(ROOM / "sql", "shop")
    texts = [source(*name.split("/")) for name in source.names()]
    assert any("shop_live" in text for text in texts)
    assert not any("{ns}" in text or "treadle_" in text for text in texts)


def test_a_row_is_written_as_often_as_asked() -> None:
    source = Source(ROOM / "sql", "treadle")
    assert source.repeated("enqueue", "jobs", 3).count("?") == 3 * source.repeated("enqueue", "jobs", 1).count("?")


def test_every_part_is_used_somewhere() -> None:
    code = "\n".join([*(path.read_text() for path in PLACES), *(f'"{order}"' for order in Order)])
    unused = [name for name in Source(ROOM / "sql", "treadle").names() if f'"{name.split("/")[1]}"' not in code]
    assert unused == []


@pytest.mark.parametrize("path", sorted(ROOM.glob("sql/*.sql")), ids=lambda path: path.name)
def test_every_file_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("-- ")
    assert len(lines) <= 400


CHOSEN = [
    ("claim", ("plain",), "treadle_live_ready"),
    ("claim", ("holder",), "treadle_live_suspects"),
    ("claim", ("mixed",), "treadle_live_suspects"),
    ("promote", ("due",), "treadle_live_due"),
    ("promote", ("next",), "treadle_live_due"),
    ("promote", ("late",), "treadle_live_start_by"),
    ("renew", ("cancels",), "treadle_live_cancels"),
    ("edges", ("any-open",), "treadle_edges_open"),
    ("edges", ("waiting",), "treadle_edges_open"),
    ("prune", ("old",), "treadle_finished_age"),
    ("prune", ("dead",), "treadle_dead_status"),
    ("find", ("numbers", "from-all", "matching", "key-any", "newest"), "j USING INTEGER PRIMARY KEY"),
    ("find", ("numbers", "from-all", "matching", "key-any", "oldest"), "j USING INTEGER PRIMARY KEY"),
    ("find", ("numbers", "from-key", "matching", "key-is", "newest"), "treadle_jobs_key"),
    ("find", ("numbers", "from-ended", "matching", "key-any", "newest"), "treadle_finished_age"),
]
POINTWISE = [
    ("settle", ("complete",)),
    ("settle", ("held",)),
    ("settle", ("already",)),
    ("shared", ("unlive",)),
    ("shared", ("reenter",)),
    ("shared", ("finish",)),
    ("claim", ("take",)),
    ("note", ("held",)),
    ("enqueue", ("known",)),
    ("edges", ("close-all",)),
    ("edges", ("count-down",)),
    ("find", ("jobs",)),
]


def explained(store: SqliteStore, verb: str, parts: tuple[str, ...]) -> str:
    sql = store.engine.sql(verb, *parts)
    values: dict[str, Any] = dict.fromkeys(re.findall(r":([a-z_]+)", sql))

    def begin() -> Steps[str]:
        rows = yield Ask(f"EXPLAIN QUERY PLAN {sql}", values)
        return "\n".join(str(row[3]) for row in rows)

    session = store.session()
    plan = session.run(Plan("find", begin))
    session.close()
    return plan


@pytest.mark.parametrize(
    ("verb", "parts", "index"), CHOSEN, ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_the_index_is_chosen(store: SqliteStore, verb: str, parts: tuple[str, ...], index: str) -> None:
    assert index in explained(store, verb, parts)


@pytest.mark.parametrize(("verb", "parts"), POINTWISE, ids=lambda value: "-".join(value) if isinstance(value, tuple) else "")
def test_no_table_is_walked(store: SqliteStore, verb: str, parts: tuple[str, ...]) -> None:
    walked = re.findall(r"SCAN (?!e\b|json_each|[0-9a-z]+ VIRTUAL)\w+", explained(store, verb, parts))
    assert walked == []
