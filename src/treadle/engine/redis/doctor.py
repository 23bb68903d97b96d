"""What an operator should know about a Redis store: read, never written."""

from typing import Protocol

from treadle.engine.redis.address import Dialled
from treadle.engine.redis.replies import RIGHTS
from treadle.engine.redis.standing import Standing, examine_server, soon
from treadle.engine.session import Check
from treadle.model.errors import StoreError

_CURE = "Raise maxmemory, or delete finished jobs: `treadle prune --keep 0`."


class Patient(Protocol):
    """What an examination needs of a store."""

    timeout: float
    replicas: int

    @property
    def location(self) -> str:
        """The URL without user and password."""
        ...

    def reach(self) -> Dialled:
        """A bare connection."""
        ...

    def version(self, dialled: Dialled, deadline: float) -> int:
        """The schema's version in the namespace."""
        ...


def examine(store: Patient) -> list[Check]:
    """Every finding about a store, from the outside in."""
    checks = [Check("location", "ok", store.location)]
    try:
        dialled = store.reach()
    except StoreError as error:
        return [*checks, Check("server", "error", str(error))]
    deadline = soon(store.timeout)
    try:
        standing = examine_server(dialled, deadline)
        checks.append(_server(standing))
        if standing.known:
            checks += [_durability(standing, store.replicas), _memory(standing)]
        version = store.version(dialled, deadline)
        schema = f"version {version}" if version else "nothing here yet; the first enqueue or worker begins"
        return [*checks, Check("schema", "ok" if version else "warning", schema)]
    except StoreError as error:
        return [*checks, Check("schema", "error", str(error))]
    except OSError as error:
        return [*checks, Check("server", "error", f"it did not answer ({error})")]
    finally:
        dialled.sock.close()


def _server(standing: Standing) -> Check:
    if not standing.known:
        return Check("server", "error", f"this user may not run INFO, so what it is and what it keeps is unknown. {RIGHTS}")
    text = f"{standing.product} {'.'.join(map(str, standing.version))}"
    if standing.product == "Redis" and standing.version < (7,):
        return Check("server", "error", f"{text} is too old. Use Redis 7 or Valkey 8, or later.")
    if standing.role == "slave":
        return Check("server", "error", f"{text} is a replica and takes no writes. Point the URL at its primary.")
    return Check("server", "ok", text)


def _durability(standing: Standing, replicas: int) -> Check:
    text = standing.durability(replicas)
    if text.startswith("D0"):
        return Check("durability", "error", f"{text}. Set appendonly yes and maxmemory-policy noeviction.")
    if replicas > standing.online:
        said = f"{text}. But {standing.online} run, where ?replicas={replicas} in the URL asks for {replicas}: every call fails"
        return Check("durability", "error", f"{said}. Start them, or ask for fewer.")
    if standing.sync is None:
        return Check("durability", "warning", f"{text}. This user may not read appendfsync, so the weaker case is assumed.")
    if text.startswith("D1"):
        return Check("durability", "warning", f"{text}. Set appendfsync always to survive these, for slower single enqueues.")
    return Check("durability", "ok", text)


def _memory(standing: Standing) -> Check:
    text = standing.memory
    if not standing.maxmemory:
        return Check("memory", "warning", f"{text}, and no maxmemory: set one, so that a backlog cannot take the machine down.")
    if standing.crowded:
        return Check("memory", "warning", f"{text}: enqueues are refused when it is full. {_CURE}")
    return Check("memory", "ok", text)
