"""One namespace on one server as a store: reaching it, its schema, its wake port, and what an operator may ask about it."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from treadle.engine.forking import renew_in_children
from treadle.engine.redis.address import Address, Dialled, dial
from treadle.engine.redis.doctor import examine
from treadle.engine.redis.engine import RedisEngine
from treadle.engine.redis.errand import WAITED
from treadle.engine.redis.replies import RIGHTS, Refusal, error_for, pack
from treadle.engine.redis.session import RedisSession
from treadle.engine.redis.standing import Standing, examine_server, soon
from treadle.engine.redis.wake import RedisWaiter
from treadle.engine.session import Check, Durability, Session
from treadle.model.errors import CannotOpen, NotTransactional, SchemaMismatch, StoreBusy, VolatileStore

MIGRATIONS = ("0001_begin",)
"""The layout of the keys, by version. Version 1 has nothing to convert: it is a mark in the namespace."""


class RedisStore:
    """Jobs under one prefix on a Redis or Valkey server. Nothing is reached before the first use.

    `replicas` is how many replicas must confirm a write before it counts as done.
    """

    def __init__(
        self, address: Address, *, namespace: str = "treadle", replicas: int = 0, allow_volatile: bool = False
    ) -> None:
        self.timeout: float = address.timeout
        self.tag: bytes = b"{" + namespace.encode() + b"}"
        self.engine: RedisEngine = RedisEngine()
        self.replicas: int = replicas
        self._home = address
        self._address = address
        self._allow_volatile = allow_volatile
        self._standing: Standing | None = None
        renew_in_children(self)

    def renew_locks(self) -> None:
        """Begin with locks that nobody holds."""
        self._examining = threading.RLock()  # a handler or a finalizer may dial while its own thread examines

    @property
    def location(self) -> str:
        """The URL without user and password."""
        return str(self._home)

    @property
    def durability(self) -> str:
        """The durability class and what it survives, from the server's own settings. Raises `CannotOpen`."""
        return self.standing().durability(self.replicas)

    @property
    def local(self) -> bool:
        """Never: every plan is a round trip."""
        return False

    @property
    def abreast(self) -> bool:
        """Always: while one answer is read, the server carries out the next script."""
        return True

    @property
    def serial(self) -> bool:
        """Always: the server carries out one script at a time."""
        return True

    def session(self) -> Session:
        """A session on connections of its own."""
        return RedisSession(self)

    def borrow(self, connection: Any) -> Session:
        """Raises `NotTransactional`, always: a Redis server has no transaction that a user's rows and a job could share."""
        raise NotTransactional(
            f"{type(connection).__qualname__}: jobs in {self.location} cannot take part in a transaction of another database. "
            "Enqueue after your commit, or keep the jobs in PostgreSQL or SQLite beside your rows."
        )

    def waiter(self, topics: Sequence[str]) -> RedisWaiter:
        """Somebody waiting for topics."""
        return RedisWaiter(self, topics)

    def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the names of the migrations applied. Raises as `dial`."""
        deadline = soon(self.timeout)
        dialled = self._dial(deadline)
        try:
            self._check(examine_server(dialled, deadline))
            return self._migrate(dialled, deadline)
        except OSError as error:
            raise self._unanswered(error) from None
        finally:
            dialled.sock.close()

    def pending_migrations(self) -> list[tuple[str, str]]:
        """The migrations not applied yet, as (name, the command that marks it as applied)."""
        deadline = soon(self.timeout)
        dialled = self._dial(deadline)
        try:
            version = self.version(dialled, deadline)
        except OSError as error:
            raise self._unanswered(error) from None
        finally:
            dialled.sock.close()
        return [(name, f"HSET {self.tag.decode()}:meta version {n}") for n, name in enumerate(MIGRATIONS, 1) if n > version]

    def doctor(self) -> list[Check]:
        """Examine the store. Reads only."""
        return examine(self)

    def tend(self) -> str | None:
        """Look how full the server is; returns a warning when it is about to refuse enqueues. Raises `CannotOpen`."""
        standing = self._examined()
        if not standing.crowded:
            return None
        cure = "enqueues are refused when it is full. Raise maxmemory, or delete finished jobs: `treadle prune --keep 0`"
        return f"{standing.memory}; {cure}."

    def guard_processes(self, count: int) -> None:
        """Any number of processes may serve the store."""

    def close(self) -> None:
        """Nothing stays open in the store itself: its sessions and waiters are closed by their owners."""

    def dial(self, deadline: float) -> Dialled:
        """One more connection, to a server that may hold jobs and whose schema is up to date.

        Raises `CannotOpen`, `VolatileStore` and `SchemaMismatch`.
        """
        dialled = self._dial(deadline)
        try:
            with self._examining:
                if self._standing is None:
                    standing = examine_server(dialled, deadline)
                    self._check(standing)
                    self._migrate(dialled, deadline)
                    self._standing = standing
        except OSError as error:
            dialled.sock.close()
            raise self._unanswered(error) from None
        except BaseException:
            dialled.sock.close()
            raise
        return dialled

    def standing(self) -> Standing:
        """What the server says of itself, read once. Raises `CannotOpen`."""
        return self._standing or self._examined()

    def reach(self) -> Dialled:
        """A bare connection, for examination: the schema is left as it is. Raises `CannotOpen`."""
        return self._dial(soon(self.timeout))

    def moved(self, refusal: Refusal) -> None:
        """Follow a cluster's hint to the server that has our slot; after `READONLY`, look again where the URL points."""
        words = str(refusal).split(" ")
        self._standing = None
        if words[0] != "MOVED" or len(words) < 3:
            self._address = self._home
            return
        host, _, port = words[2].rpartition(":")
        self._address = replace(self._home, host=host.strip("[]") or self._home.host, port=int(port))

    def confirmation(self, durability: Durability) -> bytes:
        """The command that waits until replicas have what was written, or nothing."""
        if not self.replicas or durability is Durability.RELAXED:
            return b""
        patience = int(self.timeout * WAITED * 1000)
        if self._standing is not None and self._standing.can_wait_for_disks:
            return pack(("WAITAOF", 1, self.replicas, patience))
        return pack(("WAIT", self.replicas, patience))

    def confirmed(self, reply: Any) -> bool:
        """Whether enough replicas have confirmed."""
        if isinstance(reply, Refusal):
            return False
        return bool(reply >= self.replicas if isinstance(reply, int) else reply[0] >= 1 and reply[1] >= self.replicas)

    def version(self, dialled: Dialled, deadline: float) -> int:
        """The schema version in the namespace; 0 where there is nothing of ours. Raises `SchemaMismatch` and `OSError`."""
        found = dialled.ask(deadline, "HGET", self.tag + b":meta", "version")
        if found is None:
            return 0
        if isinstance(found, Refusal) and found.code != "WRONGTYPE":
            self._follow(found)
            raise error_for(found, self.location)
        if not isinstance(found, bytes) or not found.isdigit() or int(found) < 1:
            raise SchemaMismatch(
                f"{self.location}: its key {self.tag.decode()}:meta says that the schema's version is {found!r}, which no "
                "treadle wrote. Name another database or another namespace, or restore a backup."
            )
        if int(found) > len(MIGRATIONS):
            raise SchemaMismatch(
                f"{self.location}: its schema is version {int(found)}, and this treadle knows versions up to "
                f"{len(MIGRATIONS)}. Upgrade treadle on this machine to at least the version that wrote the store."
            )
        return int(found)

    def _examined(self) -> Standing:
        deadline = soon(self.timeout)
        dialled = self._dial(deadline)
        try:
            return examine_server(dialled, deadline)
        except OSError as error:
            raise self._unanswered(error) from None
        finally:
            dialled.sock.close()

    def _migrate(self, dialled: Dialled, deadline: float) -> list[str]:
        version = self.version(dialled, deadline)
        if version == len(MIGRATIONS):
            return []
        done = dialled.ask(deadline, "HSET", self.tag + b":meta", "version", len(MIGRATIONS))
        if isinstance(done, Refusal):
            self._follow(done)
            raise error_for(done, self.location)
        return list(MIGRATIONS[version:])

    def _follow(self, refusal: Refusal) -> None:
        if refusal.code in ("MOVED", "READONLY"):
            self.moved(refusal)
            raise CannotOpen(f"{self.location}: {refusal}. Call again: the next call goes where the server says.")

    def _check(self, standing: Standing) -> None:
        if self._allow_volatile or (standing.kept and not standing.evicts):
            return
        if not standing.known:
            raise CannotOpen(f"{self.location}: this user may not run INFO, so what the server keeps is unknown. {RIGHTS}")
        raise VolatileStore(
            f"{self.location} is {standing.durability(self.replicas)}. Set appendonly yes and maxmemory-policy noeviction on "
            "the server, or say allow_volatile=True (TREADLE_ALLOW_VOLATILE=1 in the environment) if losing jobs is acceptable."
        )

    def _dial(self, deadline: float) -> Dialled:
        try:
            return dial(self._address, deadline)
        except CannotOpen:
            self._address = self._home
            raise

    def _unanswered(self, error: OSError) -> StoreBusy:
        return StoreBusy(f"{self.location}: the server did not answer ({error}). Nothing was changed; call again.")
