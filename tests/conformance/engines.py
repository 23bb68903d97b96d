"""The engines under examination. A new one joins by one entry in ENGINES; the suite then holds for it as well."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from conformance.desk import AuditEntry, Bench
from treadle.engine.memory.session import MemoryStore


@contextmanager
def memory(folder: Path) -> Iterator[Bench]:
    store = MemoryStore("conformance", allow_volatile=True)

    def audit() -> list[AuditEntry]:
        return [AuditEntry(line.actor, line.change, frozenset(line.jobs)) for line in store.tables.audit]

    yield Bench(store, store.transaction, audit)
    store.close()


ENGINES: dict[str, Callable[[Path], AbstractContextManager[Bench]]] = {"memory": memory}
