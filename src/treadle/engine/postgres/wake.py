"""Who sleeps on this store, and how the server wakes them: one thread and one connection for all waiters of a process.

A waiter that declares itself idle is written down in a table, and only then do commits notify its channels: a notification
with every enqueue took 16 producers from 11,800 to 3,700 jobs/s. Sleepers claim once more after their declaration, so that
one of the two always sees the other: most verbs look after their commit, and a lone enqueue tries a lock while it writes, for
which sleepers, who hold it, first let end who was writing when they lay down.
"""

import logging
import secrets
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import psycopg

from treadle.engine.jitter import jittered
from treadle.engine.postgres.channels import Channels
from treadle.engine.postgres.driver import Link, Overdue
from treadle.engine.postgres.statements import Statements
from treadle.engine.postgres.steps import Ask, texts
from treadle.engine.sleeper import Sleeper
from treadle.model.errors import StoreError

log: logging.Logger = logging.getLogger("treadle.postgres")

LENGTH = 30.0
"""Seconds that a declaration holds: a waiter that was killed costs notifications no longer than that."""

_WRITERS = 0.1
"""Seconds that a sleeper gives to those who were writing. Who takes longer stores no lone job, or polling finds it."""

_CONFIRM = 1.0
"""Seconds that a declaration may keep its caller; after that, polling finds the work."""


class Ground(Protocol):
    """What a hub needs of its store."""

    timeout: float
    namespace: str

    @property
    def statements(self) -> Statements:
        """The statements of the namespace."""
        ...

    def open(self, deadline: float) -> Link:
        """Open one more connection."""
        ...


class Hub:
    """Listens for all waiters of a process."""

    def __init__(self, store: Ground) -> None:
        self.channels: Channels = Channels(store.namespace)
        self._store = store
        self._name = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._waiters: set[PostgresWaiter] = set()
        self._wanted = 0
        self._applied = 0
        self._up = True
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._slow: set[int] = set()  # who was writing longer than any lone enqueue does
        self._inbox, self._outbox = socket.socketpair()
        self._inbox.setblocking(False)
        self._outbox.setblocking(False)

    def join(self, waiter: "PostgresWaiter") -> None:
        """Listen for one more waiter."""
        with self._changed:
            self._waiters.add(waiter)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="treadle-postgres-wake", daemon=True)
                self._thread.start()

    def leave(self, waiter: "PostgresWaiter") -> None:
        """Listen no more for a waiter."""
        with self._changed:
            self._waiters.discard(waiter)
        self._call()

    def declare(self, *, confirm: bool) -> None:
        """Some waiter has become idle, or is not any more; `confirm` waits until the store knows."""
        with self._changed:
            self._wanted += 1
            mine = self._wanted
        self._call()
        if confirm:
            with self._changed:
                self._changed.wait_for(lambda: self._applied >= mine or not self._up, _CONFIRM)

    def close(self) -> None:
        """Stop listening."""
        with self._changed:
            self._stopping = True
            thread = self._thread
        self._call()
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._store.timeout)
        self._inbox.close()
        self._outbox.close()

    def _call(self) -> None:
        try:
            self._outbox.send(b"!")
        except OSError:  # full: it will look anyway; or closed: nobody listens any more
            return

    def _serve(self) -> None:
        pause = 0.05
        while not self._stopping:
            try:
                link = self._store.open(time.monotonic() + self._store.timeout)
                try:
                    if not link.prepares:
                        return self._give_up()
                    pause = 0.05
                    self._attend(link)
                finally:
                    link.close()
            except Exception as error:
                if self._stopping:
                    return None
                self._down()
                known = isinstance(error, (psycopg.Error, Overdue, StoreError, OSError))
                log.log(logging.DEBUG if known else logging.ERROR, "not listening for a moment: %s", error, exc_info=not known)
            self._rest(jittered(pause))
            pause = min(2.0, pause * 2)
        return None

    def _give_up(self) -> None:
        """Nothing can listen here: whoever waits polls."""
        self._down()

    def _down(self) -> None:
        with self._changed:
            self._up = False
            self._changed.notify_all()

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            _readable([self._inbox.fileno()], left)
            self._drain()

    def _attend(self, link: Link) -> None:
        """Keep the server told who listens and who sleeps, and pass on what it says."""
        listening: set[str] = set()
        declared: set[str] = set()
        lying: set[str] = set()
        renewed = 0.0
        while not self._stopping:
            with self._changed:
                wanted = self._wanted
                names = {name for waiter in self._waiters for name in waiter.names}
                idle = {name for waiter in self._waiters if waiter.is_idle for name in waiter.names}
                confirmed = [waiter for waiter in self._waiters if waiter.is_idle and not waiter.confirmed]
            now = time.monotonic()
            if now - renewed >= LENGTH / 3:
                renewed, declared = now, set[str]()
                link.put(Ask(self._store.statements("wake", "sweep")))
            for name in names - listening:
                link.command(b'LISTEN "%s"' % name.encode())
            for name in listening - names:
                link.command(b'UNLISTEN "%s"' % name.encode())
            self._tell(link, "declare", idle - declared)
            self._tell(link, "revoke", declared - idle)
            self._tell(link, "rise", lying - idle)
            link.sync()
            if idle - lying:
                self._tell(link, "lie", idle - lying)
                self._outlast(link)
            else:
                link.wait(time.monotonic() + self._store.timeout)
            listening, declared, lying = names, idle, idle
            with self._changed:
                self._up, self._applied = True, wanted
                self._changed.notify_all()
            for waiter in confirmed:
                waiter.confirm()
            self._listen(link, renewed + LENGTH / 3)

    def _tell(self, link: Link, part: str, names: set[str]) -> None:
        if names:
            values = {"waiter": self._name, "channels": texts(names), "length": round(LENGTH * 1e6)}
            link.put(Ask(self._store.statements("wake", part), values))

    def _outlast(self, link: Link) -> None:
        """Wait until those have ended who write now, after the declaration; the slowest are not waited for."""
        pause, since = 0.0005, time.monotonic()
        waiting: set[int] | None = None
        while True:
            link.put(Ask(self._store.statements("wake", "writers")))
            link.sync()
            writing = {number for (number,) in link.wait(time.monotonic() + self._store.timeout)[-1]}
            self._slow &= writing
            waiting = writing - self._slow if waiting is None else waiting & writing
            if not waiting:
                return
            if time.monotonic() - since > _WRITERS:
                self._slow |= waiting
                return
            self._notice(link)
            time.sleep(pause)
            pause *= 2

    def _notice(self, link: Link) -> None:
        while (notice := link.connection.pgconn.notifies()) is not None:
            self._pass_on(notice.relname.decode())

    def _listen(self, link: Link, until: float) -> None:
        """Pass on notifications until something changes here, or the declarations are to be renewed."""
        pg = link.connection.pgconn
        while True:
            self._notice(link)
            left = until - time.monotonic()
            if left <= 0 or self._stopping:
                return
            inbox = self._inbox.fileno()
            ready = _readable([pg.socket, inbox], left)
            if pg.socket in ready:
                pg.consume_input()
            if inbox in ready:
                self._drain()
                self._notice(link)
                return

    def _pass_on(self, name: str) -> None:
        with self._changed:
            waiters = [waiter for waiter in self._waiters if waiter.is_idle and name in waiter.names]
        for waiter in waiters:
            waiter.wake()

    def _drain(self) -> None:
        try:
            while self._inbox.recv(4096):
                pass
        except BlockingIOError:
            return


class PostgresWaiter(Sleeper):
    """Waits for topics, from a thread or from an event loop. A wake while idle is kept until it is seen."""

    def __init__(self, hub: Hub, topics: Sequence[str]) -> None:
        super().__init__()
        self.names: frozenset[str] = frozenset(map(hub.channels.name, topics))
        self.is_idle: bool = False
        self.confirmed: bool = False
        self._hub = hub
        hub.join(self)

    def idle(self, waiting: bool) -> None:
        """Declare whether a wake is wanted now. A busy waiter hears nothing, and forgets what it heard.

        Without a listener this blocks until the store knows. With one it returns at once, and the listener is called when
        the store knows: what was stored before is then found by looking once more.
        """
        if waiting == self.is_idle:
            return
        self.confirmed = False
        self.is_idle = waiting
        if not waiting:
            self.forget()
        self._hub.declare(confirm=waiting and not self.listened)

    def confirm(self) -> None:
        """The store knows that this waiter is idle."""
        self.confirmed = True
        if self.is_idle:
            self.ring()

    def close(self) -> None:
        """Stop listening."""
        super().close()
        self.is_idle = False
        self._hub.leave(self)


def _readable(files: Sequence[int], seconds: float) -> set[int]:
    """Which of these there is something to read from, within so many seconds. `select.select` knows no file above 1023."""
    poll = select.poll()
    for each in files:
        poll.register(each, select.POLLIN)
    return {file for file, _ in poll.poll(seconds * 1000)}
