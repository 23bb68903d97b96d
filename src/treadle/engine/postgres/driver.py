"""One connection to PostgreSQL, spoken to in pipelines: many statements out, one wait, all their rows back.

A connection is driven by whoever holds it, blocking or from an event loop: the talk itself is one generator that says what it
waits for. psycopg's own cursors were left aside for three reasons: they wait without a deadline, so that a hung server hangs
a worker; on cancellation they wait five seconds more; and they cannot send the commit along with the last statement.
"""

import asyncio
import select
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

from treadle.engine.postgres.steps import Ask, Rows

_READ, _WRITE = select.POLLIN, select.POLLOUT
_BOTH = _READ | _WRITE
# As numbers: they are asked for several times in each call, and a member of an enumeration is looked up each time.
_BINARY = int(pq.Format.BINARY)
_FATAL = int(pq.ExecStatus.FATAL_ERROR)
_OK = frozenset(map(int, (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)))
_OFF = b"SET synchronous_commit TO off"
_ON = b"RESET synchronous_commit"

Talk = Generator[int, int, list[Rows]]


class Overdue(Exception):
    """The server did not answer before the deadline."""


class _Sent(NamedTuple):
    """What is on its way: a preparation (of which text), a command whose rows are dropped, a statement, a hint, or a sync.

    An aside and what it needed to be prepared are hints whose answers nobody sees.
    """

    kind: str
    text: str = ""


_ASK, _HINT, _ASIDE, _COMMAND, _SYNC = map(_Sent, ("ask", "hint", "aside", "command", "sync"))


class Link:
    """A connection of our own. Not safe for two at a time: a session hands it to one call after the other.

    `prepares` is false behind a pooler that gives each transaction another connection of the server.
    """

    def __init__(self, connection: "psycopg.Connection[Any]", *, prepares: bool, settings: Sequence[bytes] = ()) -> None:
        self.connection = connection
        self.prepares = prepares
        self.settings = settings
        """What every transaction must set for itself, where a connection keeps no settings."""
        self._relaxed: bool | None = False
        self._pg = connection.pgconn
        self._loader = Transformer(connection)
        self._prepared: dict[str, bytes] = {}
        self._names = 0
        self._sent: list[_Sent] = []
        self._wanted = 0  # how many of these are waited for; asides behind them are not
        self._socket = self._pg.socket
        self._poller = select.poll()
        self._poller.register(self._socket, _READ)
        self._pg.enter_pipeline_mode()

    @property
    def open(self) -> bool:
        """Whether the connection can still be used, as far as this side knows."""
        return self._pg.status == pq.ConnStatus.OK

    @property
    def in_transaction(self) -> bool:
        """Whether the server has a transaction of ours open, failed or not."""
        return self.open and self._pg.transaction_status != pq.TransactionStatus.IDLE

    def alive(self) -> bool:
        """Whether the server has not hung up while nobody looked."""
        if not self.open:
            return False
        if self._poller.poll(0):
            try:
                self._pg.consume_input()
            except psycopg.Error:
                return False
        return self.open

    def put(self, ask: Ask, *, hint: bool = False) -> None:
        """Send a statement, as soon as the socket takes it. The failure of a `hint` is passed over: it has no rows then."""
        self._put(ask, _HINT if hint else _ASK)
        self._wanted = len(self._sent)

    def command(self, text: bytes) -> None:
        """Send a command whose answer nobody wants."""
        self._pg.send_query_params(text, None)
        self._sent.append(_COMMAND)
        self._wanted = len(self._sent)

    def mention(self, ask: Ask) -> None:
        """Send a statement in a transaction of its own, and do not wait for it: its answer is passed over later."""
        wanted = self._wanted
        self._put(ask, _ASIDE)
        self.sync()
        self._wanted = wanted

    def relax(self, relaxed: bool) -> None:
        """Let the commits from now on wait for the disk, or not."""
        if not self.prepares:
            if relaxed:
                self.command(b"SET LOCAL synchronous_commit TO off")
        elif relaxed is not self._relaxed:
            self.command(_OFF if relaxed else _ON)
            self._relaxed = relaxed

    def hurry(self) -> None:
        """Have what was put so far answered before the rest is, so that a server that works is told from one that hangs."""
        self._pg.send_flush_request()

    def nudge(self) -> None:
        """Let what was put go out, without waiting."""
        self._pg.flush()

    def sync(self) -> None:
        """End a pipeline: what stands outside of a transaction is committed."""
        self._pg.pipeline_sync()
        self._sent.append(_SYNC)
        self._wanted = len(self._sent)

    def wait(self, deadline: float, first: float | None = None) -> list[Rows]:
        """Block for the rows of everything put since the last wait. Raises what the server said, and `Overdue`.

        With `first`, the server must have said something until then; who has may take until the deadline.
        """
        until = deadline if first is None else min(first, deadline)
        talk = self._talk()
        poller, polled = self._poller, _READ
        try:
            need = next(talk)
            while True:
                if need != polled:
                    poller.modify(self._socket, need)
                    polled = need
                left = until - time.monotonic()
                ready = poller.poll(max(0.0, left) * 1000)
                if not ready:
                    if left <= 0:
                        raise Overdue
                    continue
                if ready[0][1] & ~_WRITE:
                    until = deadline
                need = talk.send(ready[0][1])
        except StopIteration as stop:
            rows: list[Rows] = stop.value
            return rows
        finally:
            if polled != _READ:
                poller.modify(self._socket, _READ)

    async def await_(self, deadline: float, first: float | None = None) -> list[Rows]:
        """The awaitable twin of `wait`."""
        until = deadline if first is None else min(first, deadline)
        return await _Conversation(self._talk(), self._socket, until, deadline).rows()

    def roll_back(self) -> None:
        """Send the end of a transaction that is not wanted any more."""
        self._relaxed = None
        self.command(b"ROLLBACK")
        self.sync()

    def close(self, patience: float = 0.0) -> None:
        """Hang up, at once and without a word to wait for; with `patience`, hear out for so many seconds what was mentioned.

        A connection closed over unread answers is reset, which the server writes down as a failure.
        """
        if patience and self._sent and self.open:
            self._wanted = len(self._sent)
            with suppress(psycopg.Error, Overdue):
                self.wait(time.monotonic() + patience)
        self._pg.finish()

    def _put(self, ask: Ask, sent: _Sent) -> None:
        text, names = ask.statement
        values = ask.values
        parameters = [_encoded(values[name]) for name in names]
        pg = self._pg
        if not self.prepares:
            pg.send_query_params(text.encode(), parameters, result_format=_BINARY)
        else:
            name = self._prepared.get(text)
            if name is None:
                name = self._prepared[text] = b"t%d" % self._names
                self._names += 1
                pg.send_prepare(name, text.encode())
                self._sent.append(_Sent("prepare", text))
            pg.send_query_prepared(name, parameters, result_format=_BINARY)
        self._sent.append(sent)

    def _talk(self) -> Talk:
        """Write what is left to write and read what is waited for; says what it waits for, is told what is ready.

        Asides put before it are read along the way.
        """
        pg, wanted = self._pg, self._wanted
        answers: list[Rows] = []
        failure: psycopg.Error | None = None
        for kind, text in self._sent[:wanted]:
            result = None
            while result is None:  # one result for each, and after all but a sync a null that ends it and is passed over
                while pg.is_busy():
                    if (yield _BOTH if pg.flush() else _READ) & ~_WRITE:
                        pg.consume_input()
                result = pg.get_result()
                if result is None and pg.status != pq.ConnStatus.OK:
                    raise psycopg.OperationalError("the connection is lost")
            status = result.status
            if status in _OK:
                if kind == "ask" or kind == "hint":
                    answers.append(self._rows(result))
                continue
            if kind == "prepare":
                del self._prepared[text]
            if kind == "hint":
                answers.append([])
            elif status == _FATAL and kind != "aside" and failure is None:
                failure = psycopg.errors.error_from_result(result)
        del self._sent[:wanted]
        self._wanted = 0
        if failure is not None:
            self._relaxed = None  # whether it was rolled back with the rest depends on where it stood
            raise failure
        return answers

    def _rows(self, result: Any) -> Rows:
        count = result.ntuples
        if not count:
            return []
        self._loader.set_pgresult(result)
        rows: Rows = self._loader.load_rows(0, count, tuple)
        return rows


def _encoded(value: Any) -> bytes | None:
    """A parameter as the text that the server reads."""
    if value is None:
        return None
    kind: type = value.__class__
    if kind is int:
        return b"%d" % value
    if kind is float:
        return b"%r" % value
    if kind is bool:
        return b"t" if value else b"f"
    data: bytes = value.encode()
    if b"\0" in data:
        raise psycopg.DataError("PostgreSQL's texts cannot hold the character NUL")
    return data


class _Conversation:
    """A talk that the event loop carries on by its callbacks, whatever comes in; `rows` waits for its end.

    A thousand rows come in some fifty pieces, and a coroutine woken for each, with a future, a timer and a reader of its own,
    costs more than taking it.
    """

    def __init__(self, talk: Talk, socket: int, until: float, deadline: float) -> None:
        self._talk = talk
        self._socket = socket
        self._until = until
        self._deadline = deadline
        self._writing = False

    async def rows(self) -> list[Rows]:
        try:
            need = next(self._talk)
        except StopIteration as stop:
            rows: list[Rows] = stop.value
            return rows
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[list[Rows]] = self._loop.create_future()
        self._timer = self._set_timer()
        self._loop.add_reader(self._socket, self._go_on, _READ)
        self._write(need)
        try:
            return await self._end
        finally:
            self._timer.cancel()
            self._loop.remove_reader(self._socket)
            self._write(0)

    def _go_on(self, ready: int) -> None:
        if self._end.done():
            return
        if ready == _READ:
            self._until = self._deadline  # the timer finds that when it goes off, which it hardly ever does
        try:
            self._write(self._talk.send(ready))
        except StopIteration as stop:
            self._end.set_result(stop.value)
        except Exception as error:  # noqa: BLE001 - handed to who waits
            self._end.set_exception(error)

    def _write(self, need: int) -> None:
        writing = bool(need & _WRITE)
        if writing and not self._writing:
            self._loop.add_writer(self._socket, self._go_on, _WRITE)
        elif self._writing and not writing:
            self._loop.remove_writer(self._socket)
        self._writing = writing

    def _set_timer(self) -> asyncio.TimerHandle:
        return self._loop.call_later(max(0.0, self._until - time.monotonic()), self._overdue)

    def _overdue(self) -> None:
        if self._end.done():
            return
        if time.monotonic() < self._until:
            self._timer = self._set_timer()
        else:
            self._end.set_exception(Overdue())
