"""note: what a running job says in mid-run, and who may say it."""

from conformance.desk import Desk
from treadle.model.filter import Filter, Page
from treadle.model.job import Claimed
from treadle.model.outcome import Completed, Note, NoteKind, Released, Verdict


def note(claimed: Claimed, value: str, *, kind: NoteKind = NoteKind.PROGRESS, name: str = "") -> Note:
    return Note(claimed.ref, claimed.id, claimed.attempt, kind, name, value)


def write(desk: Desk, lease: str, *notes: Note) -> list[Verdict]:
    return desk.run(desk.engine.note(lease, notes, now=desk.now))


def test_progress_is_shown_with_the_job(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker()
    claimed = desk.claim_one(lease, job)

    assert write(desk, lease, note(claimed, "0.2")) == [Verdict.DONE]

    assert desk.job(job).progress == "0.2"
    assert dict(desk.job(job).notes or {}) == {"progress": "0.2"}
    [plain] = desk.run(desk.engine.find(Filter(ids=[job]), Page()))
    assert (plain.progress, plain.notes) == ("0.2", None)


def test_a_later_note_of_one_name_replaces_the_earlier(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker()
    claimed = desk.claim_one(lease, job)

    write(desk, lease, note(claimed, "1", name="a"), note(claimed, "2", name="b"), note(claimed, "3", name="a"))
    write(desk, lease, note(claimed, "4", name="b"))

    stored = desk.job(job)
    assert dict(stored.notes or {}) == {"progress/a": "3", "progress/b": "4"}
    assert stored.progress == "4"


def test_a_stuck_job_is_flagged(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker()
    claimed = desk.claim_one(lease, job)
    assert not desk.job(job).stuck

    assert write(desk, lease, note(claimed, "true", kind=NoteKind.STUCK)) == [Verdict.DONE]

    assert desk.job(job).stuck
    assert desk.job(job).progress is None


def test_notes_stay_over_the_attempts(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker()
    first = desk.claim_one(lease, job)
    write(desk, lease, note(first, "0.5"))
    desk.finish(lease, first, Released())
    assert desk.job(job).progress == "0.5"
    second = desk.claim_one(lease, job)

    assert desk.finish(lease, second).progress == "0.5"
    assert dict(desk.job(job).notes or {}) == {"progress": "0.5"}


def test_answers_stand_in_the_order_of_the_notes(desk: Desk) -> None:
    jobs = [desk.add() for _ in range(2)]
    lease = desk.worker()
    first, second = desk.claim(lease)
    stale = first._replace(attempt=7)

    verdicts = write(desk, lease, note(first, "1"), note(stale, "2"), note(second, "3"))

    assert verdicts == [Verdict.DONE, Verdict.LOST, Verdict.DONE]
    assert [desk.job(job).progress for job in jobs] == ["1", "3"]
    assert write(desk, lease) == []


def test_only_the_holder_may_write(desk: Desk) -> None:
    job = desk.add()
    lease, other = desk.worker("w1", length=30.0), desk.worker("w2")
    claimed = desk.claim_one(lease, job)
    before = desk.snapshot()

    assert write(desk, other, note(claimed, "1")) == [Verdict.LOST]
    assert write(desk, "nobody", note(claimed, "1")) == [Verdict.LOST]
    assert write(desk, lease, note(claimed._replace(attempt=2), "1")) == [Verdict.LOST]
    assert write(desk, lease, note(claimed._replace(id="nobody"), "1")) == [Verdict.LOST]
    assert desk.snapshot() == before


def test_a_lease_that_has_run_out_may_not_write(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker(length=30.0)
    claimed = desk.claim_one(lease, job)
    desk.later(30)
    before = desk.snapshot()

    assert write(desk, lease, note(claimed, "1")) == [Verdict.LOST]
    assert desk.snapshot() == before


def test_an_ended_attempt_may_not_write(desk: Desk) -> None:
    job = desk.add()
    lease = desk.worker()
    claimed = desk.claim_one(lease, job)
    desk.finish(lease, claimed, Completed())
    before = desk.snapshot()

    assert write(desk, lease, note(claimed, "1")) == [Verdict.LOST]
    assert desk.snapshot() == before
