"""The engine boundary: fifteen verbs, each a plan, and the promise each one makes.

What holds for all of them:

* **Atomic.** A plan happens whole or not at all.
* **Batch first.** Sequences in, a list in the same order out. One is a batch of one.
* **Fenced.** `settle`, `renew` and `note` show (job, attempt, lease); a loser is told `LOST` and changes nothing.
* **Expected things are values.** A known id, a failed guard, a lost lease never raise, so a plan can run inside a user's
  own transaction without poisoning it.
* **Repeatable.** The caller makes the ids, so running a plan again after a lost answer does no harm. `claim` is the
  exception: a lost answer leaves jobs under the lease. Its holder finds them by `held`, and `rescue` when it runs out.
* **Time is a parameter.** `now=None` means the store's own clock; a test hands one in. Randomness never happens here.
* **Edges of time.** A lease holds while now < its end. A job is due when `due_at` <= now. It has missed its start-by
  deadline when `start_by` < now. A finished job is older than an age when `finished_at` < now - age.
* **Age.** Wherever jobs come "oldest first", or tie, they stand in the order in which they were stored.
* **Wakes.** A verb that makes work claimable, ends a job or asks a running one to stop yields a `Wake` with topics
  (`queue:NAME`, `job:ID`, `lease:ID`); the session delivers it after the commit. A wake is a hint; polling is the truth.
"""

from collections.abc import Sequence
from typing import Protocol

from treadle.engine.plan import Plan
from treadle.model.filter import Altered, Axis, Change, Count, Filter, Page, Retention
from treadle.model.job import (
    Claimed,
    Claims,
    Enqueued,
    Job,
    Lease,
    LeaseId,
    Micros,
    NewJob,
    Promoted,
    Renewal,
    Rescued,
    Want,
    Witness,
    WorkerInfo,
)
from treadle.model.outcome import Note, Settlement, Verdict
from treadle.model.record import Record, Space, Write, Written

Now = Micros | None


class Engine(Protocol):
    """A back end's verbs. Stateless: everything an engine knows is in the store."""

    def enqueue(self, jobs: Sequence[NewJob], *, now: Now = None) -> Plan[list[Enqueued]]:
        """Store every job, or say of each why not.

        A known id (live, finished, or earlier in the batch) answers `ALREADY`, and neither its edges nor its guard are
        looked at. Guards are tried in batch order, each seeing the writes of those before. An edge to an unknown parent
        (a job of the batch whose guard failed is one) refuses the whole batch: nothing is written, `ALREADY` and
        `GUARDED` stand, all others answer `UNKNOWN_PARENT` or `REFUSED`. Edges to parents that have ended are settled at
        once: completed, or ended otherwise with `run`, does not block; dead with an open letter and `hold` blocks; ended
        otherwise with `cancel` or `hold` stores the job cancelled, which settles its own children in turn. Parents may
        stand in the same batch, before or after. A parent named twice counts once, as first named. The queue is entered in
        batch order.
        """
        ...

    def claim(
        self, lease: LeaseId, wants: Sequence[Want], tasks: Sequence[str], *, suspects: int = 0, now: Now = None
    ) -> Plan[Claims]:
        """Move queued jobs to `running` under `lease`, by priority (larger first), then `seq`, per queue.

        Takes only names in `tasks`, nothing from a paused queue, nothing past its start-by deadline, and at most
        `suspects` suspects over all wants, earlier wants first (a suspect over that number is passed by). Each want gets
        `take`; what one leaves unused, later passes give to the others, up to their `up_to`, in the order of `wants`; all
        wants together never get more than the sum of `take`. Each claim adds one to `attempt`. The answer stands in the
        order of `wants`, then the order of the queue. A lease that is unknown or has run out claims nothing and is told so.
        """
        ...

    def settle(self, lease: LeaseId, settlements: Sequence[Settlement], *, now: Now = None) -> Plan[list[Verdict]]:
        """End attempts: store each outcome, count edges down once for the whole batch, free or cancel the children.

        Fenced by (id, attempt, lease) and by the lease still being held. `ALREADY` when this very (id, attempt) is
        already completed, whatever has become of the lease. `Retrying` and `Died` add one to `failures`, `Snoozed` to
        `snoozes`, `Released` to `releases`, `Crashed` to `crashes`, also when the job then ends cancelled: a job with a
        cancel request that is handed `Retrying`, `Snoozed`, `Released` or `Crashed` does, with the request's reason.
        `Crashed` becomes `retrying` or, when `crashes` reaches the job's `max_crashes`, `dead` with cause `worker_lost`.
        Every outcome but `Completed` appends an `AttemptRecord`. `Retrying`, `Snoozed` and `Crashed` set `due_at` and drop
        the start-by deadline; only `Released` keeps both, and goes to the back of its priority with a new `seq`.
        `Retrying` and `Snoozed` clear the suspect mark: the job was seen to end without harm.

        What an ended parent does to a child that waits for it: completed, or ended otherwise with `run`, counts down, and
        the last one frees the child (`scheduled` while it is not yet due); dead with `hold` leaves it blocked; ended
        otherwise with `cancel` or `hold` cancels it, with the reason `parent ID` (one of them), and so on down. Children
        freed together enter the queue oldest first, ahead of those freed further down. This holds for every verb that ends
        a job.
        """
        ...

    def renew(
        self, lease: LeaseId, beat: int, length: float, *, worker: WorkerInfo | None = None, now: Now = None
    ) -> Plan[Renewal]:
        """Open (`beat` 0, with `worker`) or extend a lease to `length` seconds from now, and collect cancel requests.

        A lease that has run out or is unknown is `lost`, and never revived. Repeating beat 0 is harmless: it extends.
        """
        ...

    def note(self, lease: LeaseId, notes: Sequence[Note], *, now: Now = None) -> Plan[list[Verdict]]:
        """Write down what running jobs say in mid-run: progress, the stuck flag. Fenced like `settle`: `DONE` or `LOST`.

        Notes stay with the job over its attempts; the stuck flag goes when the attempt ends.
        """
        ...

    def promote(self, *, limit: int = 1000, now: Now = None) -> Plan[Promoted]:
        """Queue what is due (in due order, with new `seq`) and expire what missed its start-by deadline, `limit` of each.

        What is due but past its deadline is expired, never queued. What is queued precedes the children that expiry frees.
        `next_due` is the earliest `due_at` still scheduled or retrying afterwards.
        """
        ...

    def rescue(self, witnesses: Sequence[Witness] = (), *, delay: float = 1.0, now: Now = None) -> Plan[list[Rescued]]:
        """Take back every job of leases that ran out or that a witness saw end, and remove those leases.

        `crashes + 1`, then `cancelled` when that was asked for, or `dead` with cause `worker_lost` when the count reaches
        `max_crashes`, or else `retrying` after `delay` seconds, without a start-by deadline and marked suspect. The attempt
        is recorded with the exit seen. An unknown lease is passed by.
        """
        ...

    def prune(self, retention: Retention, *, limit: int = 1000, now: Now = None) -> Plan[int]:
        """Delete finished jobs older or more than `retention` allows, `limit` at most; returns how many.

        An open dead letter is never pruned, nor a job that a live job names as a parent (it may read its result). Of each
        state the longest finished go first.
        """
        ...

    def alter(self, where: Filter, change: Change, *, actor: str, limit: int = 1000, now: Now = None) -> Plan[list[Altered]]:
        """Apply one change to up to `limit` jobs, oldest first, and write the audit line in the same step.

        `limit` counts the jobs that match, permitted or not. A move that the table does not permit leaves the job alone
        and answers `done=False`; an alter that changed nothing leaves no audit line.
        """
        ...

    def find(self, where: Filter, page: Page) -> Plan[list[Job]]:
        """Jobs as they are now, live and finished alike. An `after` that is not stored (any more) answers nothing."""
        ...

    def count(self, where: Filter, by: Sequence[Axis] = (Axis.STATE,)) -> Plan[list[Count]]:
        """How many jobs there are, by the axes asked for, sorted by key (None first). No axis answers one total, even 0."""
        ...

    def read(self, space: Space, keys: Sequence[str] | None = None) -> Plan[list[Record]]:
        """Records of a space, sorted by key: those named that exist, or all."""
        ...

    def write(self, writes: Sequence[Write], *, now: Now = None) -> Plan[list[Written]]:
        """Compare-and-set each record on its own, in order. Deleting `PAUSED` of a queue wakes it."""
        ...

    def leases(self, *, now: Now = None) -> Plan[list[Lease]]:
        """Every lease not yet removed, by (`started_at`, `id`): which workers live, and what they know and hold."""
        ...

    def held(self, lease: LeaseId) -> Plan[list[Claimed]]:
        """What runs under a lease, oldest first, as `claim` handed it out: for a holder that may have missed an answer."""
        ...
