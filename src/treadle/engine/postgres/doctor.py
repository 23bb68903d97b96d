"""What an operator should know about a PostgreSQL store: read, never written."""

import time
from typing import Protocol

import psycopg
from psycopg import pq

from treadle.engine.postgres.steps import Rows
from treadle.engine.postgres.telling import Place
from treadle.engine.session import Check
from treadle.model.errors import StoreError

_OLDEST = 140000
"""The oldest server that is supported, as the server numbers its versions."""

_LONG = 60.0
"""Seconds after which an open transaction is worth a word: what was deleted since cannot be cleared away."""

_FACTS = """
SELECT current_setting('server_version_num')::int8, current_setting('server_version'), current_setting('synchronous_commit'),
    current_setting('fsync') = 'on', current_setting('synchronous_standby_names') <> '', pg_is_in_recovery(),
    current_setting('max_connections')::int8, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    (SELECT max(extract(epoch FROM clock_timestamp() - xact_start))::float8 FROM pg_stat_activity
     WHERE backend_xmin IS NOT NULL AND backend_type = 'client backend' AND pid <> pg_backend_pid()),
    current_setting('autovacuum') = 'on', extract(epoch FROM clock_timestamp())::float8
"""


class Patient(Place, Protocol):
    """What an examination needs of a store."""

    timeout: float

    def ask(self, text: str, deadline: float) -> Rows:
        """The rows of one question on a connection of its own."""
        ...

    def pending_migrations(self) -> list[tuple[str, str]]:
        """The migrations not applied yet."""
        ...

    def refusal(self) -> StoreError | None:
        """What our role lacks of the rights that it needs."""
        ...

    def pooled(self) -> bool:
        """Whether connections are lent by the transaction."""
        ...


def durability_of(store: Patient) -> str:
    """The durability class, read from the server's settings, and what it survives."""
    [row] = _asked(store, _FACTS)
    return _class(str(row[2]), fsync=bool(row[3]), standby=bool(row[4]))


def _class(commit: str, *, fsync: bool, standby: bool) -> str:
    if not fsync:
        return "D1: survives the crash of a process; a power loss may damage the database (fsync=off)"
    if commit == "off":
        return "D1: survives the crash of a process; the last moments before a crash of the server are lost"
    if standby and commit in {"on", "remote_apply"}:
        return "D3: survives the loss of one machine"
    return "D2: survives a power loss"


def examine(store: Patient) -> list[Check]:
    """Every finding about a store, from the outside in."""
    checks = [Check("location", "ok", store.location), _library()]
    try:
        [row] = _asked(store, _FACTS)
        checks += _server(row)
        checks.append(_pooler(pooled=store.pooled()))
        if (refusal := store.refusal()) is not None:
            return [*checks, Check("rights", "error", str(refusal))]
        missing = [name for name, _ in store.pending_migrations()]
    except StoreError as error:
        return [*checks, Check("server", "error", str(error))]
    if missing:
        cure = f"{', '.join(missing)} not applied to the schema {store.namespace}: run `treadle migrate`"
        return [*checks, Check("schema", "error", cure)]  # of rights in tables that are not there nothing can be said
    checks.append(Check("rights", "ok", f"the role {store.role} may read and write the schema {store.namespace}"))
    return [*checks, Check("schema", "ok", f"{store.namespace}, up to date")]


def _library() -> Check:
    text = f"psycopg {psycopg.__version__}, {pq.__impl__}, libpq {pq.version()}"
    if pq.__impl__ == "python":
        return Check("library", "warning", f"{text}: many times slower than psycopg[binary], which should be installed")
    return Check("library", "ok", text)


def _server(row: "tuple[object, ...]") -> list[Check]:
    number, version, commit, fsync, standby, recovery, most, used, oldest, vacuum, clock = row
    assert isinstance(number, int)
    assert isinstance(most, int)
    assert isinstance(used, int)
    assert isinstance(clock, float)
    checks = [Check("server", "ok", f"PostgreSQL {version}")]
    if number < _OLDEST:
        checks[0] = Check("server", "error", f"PostgreSQL {version} is too old: 14 and newer are supported")
    if recovery:
        checks.append(Check("role", "error", "this server only reads: name the primary in the URL"))
    level = "ok" if fsync else "warning"
    cure = (
        ""
        if fsync
        else ". Set fsync=on in the server's postgresql.conf, and have it read that again (`SELECT pg_reload_conf()`)."
    )
    checks.append(Check("durability", level, f"{_class(str(commit), fsync=bool(fsync), standby=bool(standby))}{cure}"))
    room = "ok" if used < most * 0.8 else "warning"
    cure = "" if room == "ok" else ": raise max_connections, or lower ?connections= (a worker takes about four)"
    checks.append(Check("connections", room, f"{used} of {most} in use{cure}"))
    if isinstance(oldest, float) and oldest > _LONG:
        cure = "what was deleted since cannot be cleared away, and tables grow: find it in pg_stat_activity and end it"
        checks.append(Check("oldest snapshot", "warning", f"held for {oldest:.0f} s: {cure}"))
    else:
        checks.append(Check("oldest snapshot", "ok", "none is held for long"))
    if not vacuum:
        checks.append(Check("autovacuum", "warning", "it is off, and tables whose rows come and go need it: set autovacuum=on"))
    drift = abs(time.time() - clock)
    if drift > 1:
        checks.append(Check("clock", "warning", f"the server's clock and this machine's differ by {drift:.1f} s"))
    return checks


def _pooler(*, pooled: bool) -> Check:
    if pooled:
        text = "connections are lent by the transaction: workers poll instead of being woken. Point them at the server itself"
        return Check("pooler", "warning", text)
    return Check("pooler", "ok", "none that lends connections by the transaction")


def _asked(store: Patient, text: str) -> Rows:
    return store.ask(text, time.monotonic() + store.timeout)
