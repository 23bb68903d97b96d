"""What a server says of itself: its version, and what would be left of the jobs after its end."""

import time
from dataclasses import dataclass
from typing import Any

from treadle.engine.redis.address import Dialled
from treadle.engine.redis.replies import Refusal

_CROWDED = 0.8


@dataclass(frozen=True, slots=True)
class Standing:
    """A server's settings as far as they can be read. `sync` is its `appendfsync`, None where unknown."""

    product: str
    version: tuple[int, ...]
    role: str
    kept: bool
    sync: str | None
    policy: str
    maxmemory: int
    used: int
    online: int
    """Replicas that follow this server now."""

    @property
    def known(self) -> bool:
        """Whether the server has said anything of itself; it does not to a user who may not ask."""
        return bool(self.role)

    @property
    def evicts(self) -> bool:
        """Whether a full server throws jobs away. Our keys never expire, so only `allkeys-*` touches them."""
        return self.policy.startswith("allkeys")

    @property
    def can_wait_for_disks(self) -> bool:
        """Whether the server knows WAITAOF, which asks replicas for their disks as well."""
        return self.kept and (self.version >= (7, 2) if self.product == "Redis" else True)

    @property
    def memory(self) -> str:
        """How much is used, and of how much."""
        used = f"{self.used / 1e6:.0f} MB used"
        return f"{used} of {self.maxmemory / 1e6:.0f} MB" if self.maxmemory else used

    @property
    def crowded(self) -> bool:
        """Whether the memory that the server may take is nearly gone."""
        return bool(self.maxmemory) and self.used > _CROWDED * self.maxmemory

    def durability(self, replicas: int) -> str:
        """The class, and what it survives."""
        if not self.known:
            return "D0: may survive nothing; this user may not run INFO, so what the server keeps is unknown"
        if self.evicts:
            return f"D0: survives nothing; a full server throws jobs away (maxmemory-policy {self.policy})"
        if not self.kept:
            return "D0: survives nothing; the server keeps no append-only file (appendonly no)"
        if self.sync == "always" and replicas:
            return f"D3: survives the loss of one machine; {replicas} replica(s) confirm every write"
        if self.sync == "always":
            return "D2: survives a power loss"
        if self.sync == "no":
            return (
                "D1: survives the crash of a process, the server's too; a power loss may cost what the system had not written"
            )
        return (
            "D1: survives the crash of a client or a worker; one of the server, or a power loss, may cost the last two seconds"
        )


def examine_server(dialled: Dialled, deadline: float) -> Standing:
    """Read the settings. What the user may not read counts as the weaker case. Raises `OSError`."""
    told = _told(dialled.ask(deadline, "INFO"))
    settings: Any = dialled.ask(deadline, "CONFIG", "GET", "appendfsync")
    sync: bytes | None = None if isinstance(settings, Refusal) else settings.get(b"appendfsync")
    product = "Valkey" if "valkey_version" in told else "Redis"
    version = told.get("valkey_version") or told.get("redis_version", "0")
    return Standing(
        product=product,
        version=tuple(int(part) for part in version.split(".") if part.isdigit()),
        role=told.get("role", ""),
        kept=told.get("aof_enabled") == "1",
        sync=None if sync is None else sync.decode(),
        policy=told.get("maxmemory_policy", "noeviction"),
        maxmemory=int(told.get("maxmemory", "0")),
        used=int(told.get("used_memory", "0")),
        online=sum(name.startswith("slave") and "state=online" in text for name, text in told.items()),
    )


def _told(reply: Any) -> dict[str, str]:
    if isinstance(reply, Refusal):
        return {}
    lines = bytes(reply).decode(errors="replace").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines) if value}


def soon(timeout: float) -> float:
    """The deadline of a call that may take so many seconds."""
    return time.monotonic() + timeout
