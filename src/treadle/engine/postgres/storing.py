"""Stores new jobs that look at others: at parents, at a guard, at who has a key, at a line. All is read first, then written."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from treadle.engine.admission import check_write, distinct
from treadle.engine.contract import Now
from treadle.engine.judging import Known, Place, flow_of, flow_row, judge, place_together
from treadle.engine.keying import Holding, Keyring, Name, names_of
from treadle.engine.moving import Ended, Finish, Leaver
from treadle.engine.plan import Steps
from treadle.engine.postgres.edges import finish, wake_children
from treadle.engine.postgres.facts import ledger_asks, store_ledger, to_ledger
from treadle.engine.postgres.leaving import call_next
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Ask, Asks, Do, Rows, columns, literal, numbers, texts
from treadle.engine.rows import to_text
from treadle.engine.session import Wake, topics
from treadle.model.flow import OnConflict
from treadle.model.job import Enqueued, JobId, Micros, NewJob, micros
from treadle.model.state import BlockedOn, State

_KIND = ("task", "version", "codec", "queue", "priority", "options", "headers", "key", "max_crashes", "tags")
_plain_kind = attrgetter(*_KIND)
_timed_kind = attrgetter(*_KIND, "delay", "run_at", "start_within")
_FLOW = ("n", "holds", "line", "stop", "tenant", "unique_key", "during")
_LIVE = ("n", "state", "due_at", "start_by", "waiting", "blocked_on", "flow", "enters", "hold", "line", "cost")


def enqueue_judged(sql: Statements, jobs: Sequence[NewJob], now: Now) -> Steps[list[Enqueued]]:
    """Store every job, or say of each why not."""
    guards = [job.guard.write for job in jobs if job.guard is not None]
    for write in guards:
        check_write(write)
    names = [name for job in jobs for name in names_of(job)]
    rows = yield Asks(_questions(sql, jobs, names, now))
    held_rows, *_, versions, known_rows, taken, clock = rows
    wall: Micros = clock[0][0]
    held = {(kind, key): Holding(job, *rest) for kind, key, job, *rest in held_rows if job}
    known = _known(known_rows)
    known |= yield from _holders(sql, held)
    ring = Keyring(wall, held.copy(), {job: each.state for job, each in known.items()})
    facts = to_ledger(versions)
    judgement = judge(jobs, known, facts, ring)
    chosen = [jobs[i] for i in judgement.chosen]
    places: dict[JobId, Place] = {}
    if chosen:
        yield from store_ledger(sql, facts, wall)
        if ring.taken:
            rows = [(*name, *holding) for name, holding in ring.taken.items()]
            yield Do(sql("flows", "put-keys"), columns(("kind", "key", "id", *Holding._fields[1:]), rows))
        if judgement.replaced:
            # Their end comes first: a new job may have one of their children as its parent.
            yield from _replace(sql, judgement.replaced, wall)
            known = _known((yield Ask(sql("enqueue", "known"), {"ids": texts(known)})))
            # Children of theirs stand in their queues by now, before the new jobs.
            taken = yield Ask(sql("shared", "numbers"), {"count": len(chosen)})
        places = place_together(chosen, known, ring, wall)
        own = {job.id: n for job, (n,) in zip(chosen, taken, strict=False)}
        yield from _store(sql, chosen, places, known, own, wall)
    free = [name for name in names if name not in held and (name not in ring.taken or not chosen)]
    if free:
        yield Do(sql("flows", "drop-keys"), columns(("kind", "key"), free))
    return judgement.answers(known, places)


def _questions(sql: Statements, jobs: Sequence[NewJob], names: Sequence[Name], now: Now) -> list[Ask]:
    """What must be held and known: whoever else wants one of these keys, records or lines waits for this transaction."""
    parents = texts({edge.parent for job in jobs for edge in job.edges})
    ids = texts({job.id for job in jobs} | {edge.parent for job in jobs for edge in job.edges})
    lines = {job.ordering.key for job in jobs if job.ordering is not None}
    asks: list[Ask] = [Ask(sql("flows", "hold-keys"), columns(("kind", "key"), names))]
    if any(job.unique is not None and job.unique.on_conflict is OnConflict.REPLACE for job in jobs):
        asks.append(Ask(sql("flows", "hold-holders"), columns(("kind", "key"), names)))
    if parents != "{}":
        asks += [Ask(sql("enqueue", part), {"parents": parents}) for part in ("hold-ended", "hold-parents", "hold-ended")]
    if lines:
        asks.append(Ask(sql("flows", "line-up"), {"lines": texts(lines)}))
    return [
        *asks,
        *ledger_asks(sql, [job.guard.write for job in jobs if job.guard is not None]),
        Ask(sql("enqueue", "known"), {"ids": ids}),
        Ask(sql("shared", "numbers"), {"count": len(jobs)}),
        Ask(sql("shared", "clock"), {"now": now}),
    ]


def _known(rows: Rows) -> dict[JobId, Known]:
    return {job: Known(n, State(state), letter == "open") for job, n, state, letter in rows}


def _holders(sql: Statements, held: Mapping[Name, Holding]) -> Steps[dict[JobId, Known]]:
    """How the holders of keys stand."""
    if not held:
        return {}
    return _known((yield Ask(sql("enqueue", "known"), {"ids": texts({each.job for each in held.values()})})))


def _replace(sql: Statements, replaced: Sequence[tuple[int, JobId, str]], now: Micros) -> Steps[None]:
    """Cancel waiting jobs whose unique key others take."""
    yield from finish(sql, [Finish(n, State.CANCELLED, reason=reason) for n, _, reason in replaced], now)
    yield Wake(topics(jobs=(job for _, job, _ in replaced)))
    yield from wake_children(sql, [Ended(n, job, State.CANCELLED) for n, job, _ in replaced], now)
    yield from call_next(sql, [Leaver(n, State.CANCELLED) for n, _, _ in replaced], now, ran=False)


def _store(
    sql: Statements,
    jobs: Sequence[NewJob],
    placed: Mapping[JobId, Place],
    known: Mapping[JobId, Known],
    own: Mapping[JobId, int],
    wall: int,
) -> Steps[None]:
    yield Do(sql("enqueue", "judged"), batch(jobs, wall) | {"ns": numbers(own[job.id] for job in jobs)})
    flows = [(own[job.id], *flow_row(job)) for job in jobs if flow_of(job) or job.unique is not None]
    if flows:
        yield Do(sql("flows", "add"), columns(_FLOW, flows))
    places = [(job, placed[job.id]) for job in jobs]
    live = [
        (
            own[job.id],
            p.state,
            p.due_at,
            p.start_by,
            p.waiting,
            BlockedOn.PARENTS if p.waiting else None,
            flow_of(job),
            job.ordering is not None or job.fair is not None,
            _hold(job),
            job.ordering.key if job.ordering is not None else None,
            job.holds[0].cost if job.holds else None,
        )
        for job, p in places
        if p.state is not State.CANCELLED
    ]
    if live:
        yield Do(sql("enqueue", "live"), columns(_LIVE, live))
    ended = [(job.id, p) for job, p in places if p.state is State.CANCELLED]
    if ended:
        rows = [(own[job], p.reason, p.due_at, p.start_by) for job, p in ended]
        yield Do(sql("enqueue", "ended"), columns(("n", "reason", "due_at", "start_by"), rows) | {"now": wall})
    if any(job.tags for job in jobs):
        yield Do(*tag(sql, jobs))
    edges = [
        (own[job.id], known[parent].n if parent in known else own[parent], on_dead, still_open)
        for job, place in places
        for parent, on_dead, still_open in place.edges
    ]
    if edges:
        yield Do(sql("enqueue", "edges"), columns(("child", "parent", "on_dead", "open"), edges))
    yield Wake(topics({job.queue for job, p in places if p.state is State.QUEUED}, (job for job, _ in ended)))


def _hold(job: NewJob) -> str | None:
    """What `live` says of a job's holds."""
    holds = distinct(job.holds)
    return f"{holds[0].limit}\n{holds[0].key}" if len(holds) == 1 else None


def tag(sql: Statements, jobs: Sequence[NewJob]) -> Ask:
    """Let jobs be found by their tags."""
    return Ask(sql("enqueue", "tags"), {"ids": texts([job.id for job in jobs if job.tags])})


def batch(jobs: Sequence[NewJob], now: Now, *, timed: bool = False) -> dict[str, Any]:
    """A batch as the parameters of `plain`, `timed` and `judged`."""
    each = list(map(_timed_kind if timed else _plain_kind, jobs))
    kinds = {kind: place for place, kind in enumerate(dict.fromkeys(each), 1)}
    parts = list(zip(*kinds, strict=True))
    values: dict[str, Any] = {name: literal(part) for name, part in zip(_KIND[:-1], parts, strict=False)}
    values["tags"] = literal([to_text(tags) if tags else None for tags in parts[len(_KIND) - 1]])
    if timed:
        delays, moments, spans = parts[len(_KIND) :]
        values |= {"delay": literal(map(_span, delays)), "run_at": literal(moments), "within": literal(map(_span, spans))}
    values["now"] = now
    values["ids"] = texts([job.id for job in jobs])
    values["kinds"] = numbers([kinds[kind] for kind in each])
    values["args"] = texts([job.args for job in jobs])
    return values


def alike(jobs: Sequence[NewJob], now: Now) -> dict[str, Any] | None:
    """A batch of plain jobs of one kind as the parameters of `alike`; None if it is not of one."""
    kind = _plain_kind(jobs[0])
    if len(jobs) > 1 and set(map(_plain_kind, jobs)) != {kind}:
        return None
    values: dict[str, Any] = dict(zip(_KIND, kind, strict=True))
    values["tags"] = to_text(jobs[0].tags) if jobs[0].tags else None
    values["now"] = now
    values["ids"] = texts([job.id for job in jobs])
    values["args"] = texts([job.args for job in jobs])
    return values


def _span(seconds: float | None) -> int | None:
    return None if seconds is None else micros(seconds)
