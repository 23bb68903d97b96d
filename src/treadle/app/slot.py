"""A slot as a job carries it in its headers, and as the job's body sees it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from treadle.model.job import JobId, Micros

TAG = "schedule:"
"""What the tag of a schedule's jobs begins with; the schedule's name follows."""


class SlotKind(StrEnum):
    """Why a schedule's job was enqueued: its slot had come, somebody filled in past slots, or wanted a run now."""

    SLOT = "slot"
    BACKFILL = "backfill"
    RUN = "run"


@dataclass(slots=True, frozen=True, kw_only=True)
class Slot:
    """The slot that a job stands for: when it was (in UTC), of which schedule, in which zone, and how late the job began.

    `late_by` is seconds by the store's clock, jitter included. `kind` tells a slot that had come from one that was filled
    in later and from a run that somebody asked for, whose slot is the moment of asking.
    """

    schedule: str
    at: datetime
    zone: str
    kind: SlotKind
    late_by: float

    @property
    def local(self) -> datetime:
        """The instant as a clock in the schedule's zone shows it."""
        return self.at.astimezone(ZoneInfo(self.zone))


def read_slot(headers: Mapping[str, Any], began: Micros) -> Slot | None:
    """The slot named in a job's headers, None when there is none; `began` is when its attempt did."""
    found = headers.get("slot")
    if not isinstance(found, Mapping):
        return None
    at = int(found["at"])  # pyright: ignore[reportUnknownArgumentType] - as `write_slot` made it
    return Slot(
        schedule=str(found["schedule"]),  # pyright: ignore[reportUnknownArgumentType]
        at=datetime.fromtimestamp(at / 1_000_000, UTC),
        zone=str(found["zone"]),  # pyright: ignore[reportUnknownArgumentType]
        kind=SlotKind(str(found["kind"])),  # pyright: ignore[reportUnknownArgumentType]
        late_by=(began - at) / 1_000_000,
    )


def write_slot(schedule: str, at: Micros, zone: str, kind: SlotKind) -> dict[str, Any]:
    """A slot as it stands in the headers."""
    return {"schedule": schedule, "at": at, "zone": zone, "kind": kind.value}


def slot_id(schedule: str, at: Micros) -> JobId:
    """The id of the job of a slot: the same whoever enqueues it. A UUID version 7 of the slot's own time."""
    bits = int.from_bytes(hashlib.sha256(f"{schedule}\n{at}".encode()).digest()[:10], "big")
    millis = f"{at // 1000:012x}"
    return f"{millis[:8]}-{millis[8:]}-7{bits & 0xFFF:03x}-{bits >> 12 & 0x3FFF | 0x8000:04x}-{bits >> 26 & (1 << 48) - 1:012x}"


def spread(schedule: str, at: Micros, jitter: float) -> Micros:
    """When the job of a slot is due: up to `jitter` seconds after it, the same whoever asks."""
    fraction = int.from_bytes(hashlib.sha256(f"{schedule}\n{at}\njitter".encode()).digest()[:6], "big") / (1 << 48)
    return at + int(jitter * fraction * 1_000_000)


def local_time(at: Micros, zone: str) -> datetime:
    """A stored moment as a clock of the zone shows it."""
    return datetime.fromtimestamp(at // 1_000_000, ZoneInfo(zone)).replace(microsecond=at % 1_000_000)
