"""Who is measured, how each is set up, and what each loses: the configurations that the tables print.

The settings follow each project's own documentation or benchmark. What is lost when a worker process is killed is what the
projects' documentation and code say; it is not tested here.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

import redis
from treadle import Filter, State, Treadle

Left = Callable[[str], AbstractContextManager[Callable[[], int]]]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One queue in one setting."""

    name: str
    engine: str
    adapter: str
    """The file in `adapters`."""
    environment: str | None = None
    """The requirements it is installed from; None is treadle's own environment."""
    distribution: str
    imports: str
    """What a program imports that only enqueues."""
    setting: str = ""
    settings: str
    """How it is set up, for the tables."""
    killed: str
    """What `kill -9` of a worker does to its jobs, for the tables."""
    slots: int = 0
    """Jobs at once that do not wait; 0 leaves it to the setting."""
    naps: bool = True
    """Whether one process can run 100 waiting jobs at once."""
    bulk: bool = True
    """Whether there is a call that stores many jobs."""
    pace: int
    """About how many jobs a second one worker drains: how many are given it, so that each drain takes some seconds."""
    left: Left
    """Asks the store at a URL how many jobs it still holds as waiting or running."""


def _rows(statement: str) -> Left:
    """Counted by SQL."""

    @contextmanager
    def watch(url: str) -> Generator[Callable[[], int]]:
        with psycopg.connect(url, autocommit=True) as connection:

            def left() -> int:
                row = connection.execute(statement.encode()).fetchone()
                assert row is not None
                return int(row[0])

            yield left

    return watch


def _members(count: Callable[[Any], int]) -> Left:
    """Counted by commands."""

    @contextmanager
    def watch(url: str) -> Generator[Callable[[], int]]:
        with redis.Redis.from_url(url) as client:
            yield lambda: count(client)

    return watch


def _unread(client: Any) -> int:
    """What a stream's group has not acknowledged, and what it has not been given."""
    group = client.xinfo_groups("taskiq")[0]
    return int(group["pending"]) + int(group["lag"] or 0)


@contextmanager
def _own(url: str) -> Generator[Callable[[], int]]:
    app = Treadle(url)
    live = Filter(states=tuple(state for state in State if not state.final))
    yield lambda: sum(found.count for found in app.client.count(live))
    app.close()


_OWN: dict[str, Any] = {
    "adapter": "treadle",
    "distribution": "treadle",
    "killed": "nothing is lost: the supervisor hands the jobs back at once, or other workers do after the lease of 30 s",
    "left": _own,
}

PEERS: tuple[Peer, ...] = (
    Peer(
        name="treadle",
        engine="postgres",
        settings="defaults: one process under a supervisor, 100 async slots, uvloop, fenced, history and results kept",
        imports="treadle.app.app, treadle.engine.postgres.store",
        pace=60_000,
        **_OWN,
    ),
    Peer(
        name="awa",
        engine="postgres",
        adapter="awa",
        environment="awa",
        distribution="awa-pg",
        imports="awa",
        settings="core in Rust, 100 workers, queue storage, COPY for many, default intervals, uvloop",
        killed="nothing is lost: rescued when the heartbeat has stopped",
        slots=100,
        pace=5_000,
        left=_rows("SELECT count(*) FROM awa.jobs WHERE state IN ('available', 'running', 'retryable', 'scheduled')"),
    ),
    Peer(
        name="pgqueuer, batches of 100",
        engine="postgres",
        adapter="pgqueuer",
        environment="pgqueuer",
        distribution="pgqueuer",
        imports="asyncpg, pgqueuer, pgqueuer.db, pgqueuer.queries",
        setting="batches of 100",
        settings="one dequeuer, batch_size 100, asyncpg, uvloop",
        killed="nothing is lost: taken again when the heartbeat is 30 s old",
        naps=False,
        pace=8_000,
        left=_rows("SELECT count(*) FROM pgqueuer"),
    ),
    Peer(
        name="pgqueuer",
        engine="postgres",
        adapter="pgqueuer",
        environment="pgqueuer",
        distribution="pgqueuer",
        imports="asyncpg, pgqueuer, pgqueuer.db, pgqueuer.queries",
        setting="default",
        settings="as its own benchmark: 5 dequeuers in a process, batch_size 10 (its default), asyncpg, uvloop",
        killed="nothing is lost: taken again when the heartbeat is 30 s old",
        pace=5_000,
        left=_rows("SELECT count(*) FROM pgqueuer"),
    ),
    Peer(
        name="oban",
        engine="postgres",
        adapter="oban",
        environment="oban",
        distribution="oban",
        imports="oban",
        settings="open-source edition, queue limit 100, pool of 1 to 10, uvloop, completed rows kept (its default)",
        killed="nothing is lost: rescued by its leader, which looks each 60 s",
        slots=100,
        pace=2_500,
        left=_rows("SELECT count(*) FROM oban_jobs WHERE state IN ('available', 'executing', 'retryable', 'scheduled')"),
    ),
    Peer(
        name="procrastinate",
        engine="postgres",
        adapter="procrastinate",
        environment="procrastinate",
        distribution="procrastinate",
        imports="procrastinate",
        settings="psycopg pool of 10, concurrency 10 (100 for waiting jobs), delete_jobs=always, notifications, uvloop",
        killed="nothing is lost, but the jobs stay `doing` until a task of the user's own retries stalled ones",
        slots=10,
        pace=550,
        left=_rows("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"),
    ),
    Peer(
        name="treadle",
        engine="redis",
        settings="defaults: one process under a supervisor, 100 async slots, uvloop, fenced, history and results kept",
        imports="treadle.app.app, treadle.engine.redis.store",
        pace=60_000,
        **_OWN,
    ),
    Peer(
        name="bullmq",
        engine="redis",
        adapter="bullmq.mjs",
        environment="bullmq",
        distribution="bullmq",
        imports="bullmq",
        settings="Node, one Worker, concurrency 100, removeOnComplete",
        killed="nothing is lost: moved back when its lock of 30 s has run out",
        slots=100,
        pace=9_000,
        left=_members(lambda client: client.llen("bull:bench:wait") + client.llen("bull:bench:active")),
    ),
    Peer(
        name="huey",
        engine="redis",
        adapter="huey",
        environment="huey",
        distribution="huey",
        imports="huey",
        settings="RedisHuey, 4 threads (100 for waiting jobs), blocking pop, results=False, no periodic scheduler",
        killed="the jobs in hand are lost: they are popped before they run",
        slots=4,
        bulk=False,
        pace=2_300,
        left=_members(lambda client: client.llen("huey.redis.bench")),
    ),
    Peer(
        name="taskiq",
        engine="redis",
        adapter="taskiq",
        environment="taskiq",
        distribution="taskiq",
        imports="taskiq, taskiq_redis",
        settings="RedisStreamBroker (acknowledges), 100 async tasks, prefetch 100, no result backend, uvloop",
        killed="nothing is lost: claimed again when idle for 10 minutes (its default)",
        slots=100,
        bulk=False,
        pace=2_200,
        left=_members(_unread),
    ),
    Peer(
        name="celery, threads",
        engine="redis",
        adapter="celery",
        environment="celery",
        distribution="celery",
        imports="celery, kombu.transport.redis, celery.app.amqp",
        setting="threads",
        settings="threads pool of 1 (100 for waiting jobs), prefetch multiplier 64, no results, no gossip, mingle, heartbeat",
        killed="the jobs in hand are lost (acknowledged early, its default); prefetched ones return after an hour",
        bulk=False,
        pace=700,
        left=_members(lambda client: client.llen("celery") + client.hlen("unacked")),
    ),
    Peer(
        name="celery, prefork",
        engine="redis",
        adapter="celery",
        environment="celery",
        distribution="celery",
        imports="celery, kombu.transport.redis, celery.app.amqp",
        setting="prefork",
        settings="prefork pool of 2 (one per core), prefetch multiplier 64, no results, no gossip, mingle, heartbeat",
        killed="the jobs in hand are lost (acknowledged early, its default); prefetched ones return after an hour",
        naps=False,
        bulk=False,
        pace=700,
        left=_members(lambda client: client.llen("celery") + client.hlen("unacked")),
    ),
)
