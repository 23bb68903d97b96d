"""The engine boundary: sixteen verbs, each a plan, and the promise each one makes.

What holds for all of them:

* **Atomic.** A plan happens whole or not at all.
* **Together.** Plans put together happen in their order. Claims come last: what they take may want a step of its own behind
  the rest (PostgreSQL looks for gated jobs in a second transaction).
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
* **Gated.** A job with holds or an ordering is judged by the claim that would start it. Where it may not start it is
  *parked*: `blocked` on `limit` or `key`, out of its queue, and costs the claims that follow nothing. It comes back to where it
  stood (its `seq` stays) when it may be judged again, and whoever frees it wakes its queue. A plain job pays for none of this.
* **Turns.** A job with an ordering takes its place when it first enters its queue (new when it is sent back to the queue after
  its end), and is in line from then until it ends, whatever its state; with `stop` also as an open dead letter. First in line
  is the lowest place. Nobody else of the key starts.
* **Wakes.** A verb that makes work claimable, ends a job or asks a running one to stop yields a `Wake` with topics
  (`queue:NAME`, `job:ID`, `lease:ID`); the session delivers it after the commit. A wake is a hint; polling is the truth.
"""

from collections.abc import Sequence
from typing import Protocol

from treadle.engine.plan import Plan
from treadle.model.filter import Altered, Axis, Change, Count, Filter, Page, Retention
from treadle.model.flow import Gate
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

        A job is judged by its id, its idempotency key, its unique key and its guard, in this order, and the first that speaks
        against it answers; nothing of it is stored then, and it is a stranger to edges. Each sees the jobs before it in the
        batch, which have their unique key whatever their state. A unique key is taken while the job that has it is in one of
        the new job's `during`, or the new job's `within` seconds since that one was stored are not over; otherwise the new job
        takes it over. With `REPLACE` a holder that waits is cancelled with the reason `replaced by ID`, which settles its
        children, and the new job is stored; one of the same batch is stored cancelled. An idempotency key holds while
        now < when its holder was stored + `ttl`, even after the holder is gone. A hold on a limit and key named twice counts
        once, as first named.

        Where a job has a tenant, its queue and priority are entered by start-time fair queueing: a job stands where its
        tenant's job before it stands plus 1000 / weight (rounded, at least 1), or level with the first that waits if that is
        further back; of those that stand level, older ones go first. Jobs without a tenant are one tenant more. This is so
        from the first job with a tenant until the queue (at this priority) is found empty; what waited before keeps its
        order, as if it had all been given to those without a tenant; how the second and later jobs of others mix with it is
        left open.
        """
        ...

    def claim(
        self,
        lease: LeaseId,
        wants: Sequence[Want],
        tasks: Sequence[str],
        *,
        suspects: int = 0,
        gated: int = 0,
        now: Now = None,
    ) -> Plan[Claims]:
        """Move queued jobs to `running` under `lease`, by priority (larger first), then `seq`, per queue.

        Takes only names in `tasks`, nothing from a paused queue, nothing past its start-by deadline, and at most
        `suspects` suspects over all wants, earlier wants first (a suspect over that number is passed by). Each want gets
        `take`; what one leaves unused, later passes give to the others, up to their `up_to`, in the order of `wants`; all
        wants together never get more than the sum of `take`. Each claim adds one to `attempt`. The answer stands in the
        order of `wants`, then the order of the queue. A lease that is unknown or has run out claims nothing and is told so.

        At most `gated` gated jobs are taken over all wants, earlier wants first; where the next job of a queue is gated and
        none may be taken any more, the queue ends there for this claim, and `more` says so. A gated job starts when it is
        first in line of its ordering and every one of its holds has room, all of which it takes in the same step: the rate is
        charged its cost, and it has a slot until its attempt ends, however that ends. Else it is parked at the first that
        stops it, the ordering before the holds, these in their order; of one hold: a closed limit, a paused or throttled key,
        its slots, its rate, others that are parked there and stand before it. The other keys that it holds are looked at by
        the next `promote`: what is parked there may go on in its stead. At most 1,000 gated jobs are judged in one claim;
        beyond them a queue ends, and `more` says so. Tasks that are paused are passed by.
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
        the start-by deadline. Only `Released` keeps both and goes to the back of its priority with a new `seq`, or with a
        delay, keeps the deadline and is `scheduled`.
        `Retrying` and `Snoozed` clear the suspect mark: the job was seen to end without harm.

        In a user's transaction an engine may store the ends alone, and note that the rest is still to be done: by the
        holder's own `settle` after the commit, which finds the job completed `ALREADY`, or by the next `promote`.

        What an ended parent does to a child that waits for it: completed, or ended otherwise with `run`, counts down, and
        the last one frees the child (`scheduled` while it is not yet due); dead with `hold` leaves it blocked; ended
        otherwise with `cancel` or `hold` cancels it, with the reason `parent ID` (one of them), and so on down. Children
        freed together enter the queue oldest first, ahead of those freed further down. This holds for every verb that ends
        a job.

        The slots of an attempt are free with its end, and as many of the first parked there come back to the queue as slots
        came free and the rule allows. The next in line of its ordering comes back if that is what it was parked for. This
        holds for every verb that ends an attempt, or a job in line.
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
        """Write down what running jobs say in mid-run: progress, the stuck flag, a throttle. Fenced: `DONE` or `LOST`.

        Notes stay with the job over its attempts; the stuck flag goes when the attempt ends. A throttle closes its key until
        that many seconds from now, and never shortens an earlier one. One whose value is no number of seconds closes nothing.
        """
        ...

    def promote(self, *, limit: int = 1000, now: Now = None) -> Plan[Promoted]:
        """Queue what is due (in due order, with new `seq`) and expire what missed its start-by deadline, `limit` of each.

        What is due but past its deadline is expired, never queued. What is queued precedes the children that expiry frees.
        `next_due` is the earliest `due_at` still scheduled or retrying afterwards, or the earliest moment at which parked jobs
        want to be looked at, whichever comes first.

        After that it looks at the keys (and closed limits) whose moment has come, earliest first, and frees of each the first
        parked that it has room for now, `limit` of all. What the others wait for sets the next moment: the time at which the
        next may start; one second, where some were freed and slots are what the others wait for (those freed may never
        start: their queue may be paused); none, where nothing but an end can help. A key is looked at at once when its rule
        was written or its pause has ended.
        """
        ...

    def rescue(self, witnesses: Sequence[Witness] = (), *, delay: float = 1.0, now: Now = None) -> Plan[list[Rescued]]:
        """Take back every job of leases that ran out or that a witness saw end, and remove those leases.

        `crashes + 1`, then `cancelled` when that was asked for, or `dead` with cause `worker_lost` when the count reaches
        `max_crashes`, or else `retrying` after `delay` seconds, without a start-by deadline and marked suspect. The attempt
        is recorded with the exit seen. An unknown lease is passed by.

        The jobs of a witness that says `spared` are handed back instead, as `Released` does it (also in how the attempt is
        recorded, but with the exit seen). One whose budget is a single crash is charged all the same: it may have started.
        """
        ...

    def prune(self, retention: Retention, *, limit: int = 1000, now: Now = None) -> Plan[int]:
        """Delete finished jobs older or more than `retention` allows, `limit` at most; returns how many.

        An open dead letter is never pruned, nor a job that a live job names as a parent (it may read its result). Of each
        state the longest finished go first. Uncounted go what limits and keys have no use for any more: unique keys whose job
        is gone and whose time is over, idempotency keys whose time is over, keys of limits at rest, and the oldest lines of
        the audit that are older than wanted, ten times `limit` at most.
        """
        ...

    def alter(
        self, where: Filter, change: Change, *, actor: str | None, limit: int = 1000, now: Now = None
    ) -> Plan[list[Altered]]:
        """Apply one change to up to `limit` jobs, oldest first, and write the audit line in the same step.

        `limit` counts the jobs that match, permitted or not. A move that the table does not permit leaves the job alone
        and answers `done=False`. An alter that changed nothing leaves no audit line, and neither does one that is nobody's
        doing (`actor` None): what happens by itself would fill the audit.

        `Prioritise` lets queued and parked jobs enter their queue at the new priority, oldest first, each with a new `seq`, or
        where its tenant's turn is there: a parked job is `queued` then. What waits for a time or for parents enters there when
        it is due or free. Places in lines, deadlines and marks stay.

        `Replay` tries the unique keys that its jobs asked for, oldest first, each job seeing those before it. While another
        job has the key and is in one of the `during` of the one sent back, that one is left alone if it would be so itself
        (`done=False`, and `holder` names the other), and else goes without the key. Otherwise it has the key again, as if it
        had never lost it; the `within` of whoever asks for it next counts from the last job that was stored with it.
        """
        ...

    def find(self, where: Filter, page: Page) -> Plan[list[Job]]:
        """Jobs as they are now, live and finished alike. An `after` that is not stored (any more) answers nothing.

        Asked for details, it says of a parked job where it is parked, or who is first in its line and in which state.
        """
        ...

    def count(self, where: Filter, by: Sequence[Axis] = (Axis.STATE,)) -> Plan[list[Count]]:
        """How many jobs there are, by the axes asked for, sorted by key (None first). No axis answers one total, even 0."""
        ...

    def read(self, space: Space, keys: Sequence[str] | None = None) -> Plan[list[Record]]:
        """Records of a space, sorted by key: those named that exist, or all."""
        ...

    def write(self, writes: Sequence[Write], *, now: Now = None) -> Plan[list[Written]]:
        """Compare-and-set each record on its own, in order. Deleting `PAUSED` of a queue wakes it.

        Raises `InvalidOption` for a value of `LIMIT` that is no rule and one of `FAIR` that is no weights, before anything is
        written; the guard of a new job does too.
        """
        ...

    def leases(self, *, now: Now = None) -> Plan[list[Lease]]:
        """Every lease not yet removed, by (`started_at`, `id`): which workers live, and what they know and hold."""
        ...

    def gates(self, limits: Sequence[str] | None = None, *, limit: int = 1000) -> Plan[list[Gate]]:
        """The keys of limits (those named, or all) at which jobs run or are parked, by (limit, key), `limit` at most."""
        ...

    def held(self, lease: LeaseId) -> Plan[list[Claimed]]:
        """What runs under a lease, oldest first, as `claim` handed it out: for a holder that may have missed an answer."""
        ...
