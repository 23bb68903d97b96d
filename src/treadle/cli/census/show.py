"""The demo from start to end: enqueue, serve, watch, judge, and say what happened."""

import os
import shlex
import shutil
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from treadle.cli.census.enqueue import enqueue
from treadle.cli.census.progress import Desk, Run, begin
from treadle.cli.census.tasks import FILES, PACKAGES, app
from treadle.cli.census.verdict import Recount, Verdict, judge
from treadle.cli.census.watch import Pace, look, open_screen
from treadle.cli.exits import Exit
from treadle.cli.output import clean, say
from treadle.cli.serving import read_options, supervise
from treadle.worker.supervisor import Supervisor

MODULE = "treadle.cli.census.tasks"
_LOOK_EVERY = 0.25


def play(folder: Path, desk: Desk, *, fresh: bool, leave: bool, given: dict[str, Any]) -> int:
    """Take the census of `folder`; returns the exit code. With `leave` it ends when the census does."""
    with desk.alone():
        app.connection.point_at(desk.url)
        run, again = begin(desk, folder, fresh=fresh)
        with _logging_to(desk.log):
            enqueued = enqueue(run, desk.report)
        _announce(run, desk, enqueued, again=again)
        queues = (f"{PACKAGES}:70", f"{FILES}:30")
        options = read_options(MODULE, {"url": desk.url, "queues": queues, "grace": 10.0, "threads": 2, **given})
        recount = Recount(run.inventory)
        try:
            with _logging_to(desk.log):
                supervisor = supervise(options, app)
                watcher = _Watcher(run, desk, enqueued, recount, supervisor, leave=leave)
                watcher.start()
                code = supervisor.run()
                watcher.stop()
        finally:
            recount.stop()
            app.close()
    if watcher.error is not None:
        raise watcher.error
    return _farewell(watcher.verdict, code, desk)


class _Watcher(threading.Thread):
    """Watches the run beside the supervisor, which needs the main thread for its signals."""

    def __init__(self, run: Run, desk: Desk, enqueued: int, recount: Recount, supervisor: Supervisor, *, leave: bool) -> None:
        super().__init__(name="census watcher", daemon=True)
        self._run = run
        self._desk = desk
        self._enqueued = enqueued
        self._recount = recount
        self._supervisor = supervisor
        self._leave = leave
        self._over = threading.Event()
        self.verdict: Verdict | None = None
        self.error: Exception | None = None

    def stop(self) -> None:
        """The supervisor has ended: look no more."""
        self._over.set()
        self._recount.stop()
        self.join()

    def run(self) -> None:
        """Show the run until it is finished or the supervisor has ended."""
        try:
            if self._watch():
                self.verdict = judge(self._run, self._enqueued, self._recount)
                if not self.verdict.faults:
                    self._desk.save(replace(self._run, finished=True))
                _report(self.verdict, self._run, self._desk, serving=not self._leave)
        except Exception as error:  # noqa: BLE001  handed to the main thread, which raises it
            if not self._over.is_set():
                self.error = error
                self._supervisor.stop()
        if self.verdict is not None and (self._leave or self.verdict.faults):
            self._supervisor.stop()

    def _watch(self) -> bool:
        screen = open_screen()
        pace = Pace()
        try:
            while True:
                snapshot = look(self._run.name)
                screen.show(snapshot, pace.rate(snapshot.ended))
                if snapshot.ended >= self._enqueued:
                    return True
                if self._over.wait(_LOOK_EVERY):
                    return False
        finally:
            screen.close()


@contextmanager
def _logging_to(log: Path) -> Generator[None]:
    """Send what this process and its workers write to standard error into a file: the terminal belongs to the picture."""
    sys.stderr.flush()
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _announce(run: Run, desk: Desk, enqueued: int, *, again: bool) -> None:
    inventory = run.inventory
    say(f"census of {clean(inventory.folder)}")
    say(f"store: {clean(desk.database)}")
    say(f"{'resuming' if again else 'starting'} {run.name}: {enqueued:,} jobs, {len(inventory.sources):,} of them files")
    if inventory.skipped:
        say(f"skipped: {inventory.skipped:,} files whose names are not text")


def _report(verdict: Verdict, run: Run, desk: Desk, *, serving: bool) -> None:
    snapshot = verdict.snapshot
    say()
    say(f"{snapshot.total:,} jobs in {verdict.took:.1f} s: {snapshot.ended - verdict.dead:,} completed, {verdict.dead:,} dead.")
    say(f"{verdict.retried:,} files failed to be read at first and were retried.")
    for fault in verdict.faults[:20]:
        say(f"WRONG: {clean(fault)}")
    if verdict.faults:
        return
    say(f"A plain ast.parse loop refuses the same {verdict.dead:,} files. Nothing is lost, nothing is unexplained.")
    say(f"\nreport: {clean(desk.report.as_uri())}")
    url = f"--url {shlex.quote(desk.url)}"
    say("\nLook at the dead letters, and try them again:")
    program = _program()
    say(f"  {program} dead list {url} --tag {run.name}")
    say(f"  {program} dead replay {url} --tag {run.name}")
    if serving:
        say("\nThe worker goes on serving, so that a replay runs at once. Ctrl-C leaves.")
    else:
        say(f"  {program} worker {MODULE} {url} -q {FILES} -q {PACKAGES}      # runs what was replayed")
    sys.stdout.flush()


def _farewell(verdict: Verdict | None, code: int, desk: Desk) -> int:
    if verdict is not None:
        return Exit.FAILED if verdict.faults else Exit.OK
    if code == 0 or code > 128:
        say("\nStopped before the end. Start the same command again to go on from here.")
        return Exit.INTERRUPTED
    say(f"\nThe worker could not serve (exit code {code}); see {clean(desk.log)}.", err=True)
    return Exit.FAILED


def _program() -> str:
    """What to type for this very program: its name where that finds it, else where it is."""
    ours = Path(sys.executable).parent / "treadle"
    found = shutil.which("treadle")
    if found is not None and ours.exists() and Path(found).samefile(ours):
        return "treadle"
    return shlex.quote(str(ours)) if ours.exists() else f"{shlex.quote(sys.executable)} -m treadle"
