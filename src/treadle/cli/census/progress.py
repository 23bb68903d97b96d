"""How far a census is: what is remembered between two starts, so that a run begun can be finished."""

import fcntl
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec

from treadle.cli.census.inventory import Inventory, take_inventory
from treadle.model.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One census. `name` tags its jobs, `began` is Unix milliseconds; the inventory is the one it began with."""

    name: str
    began: int
    inventory: Inventory
    finished: bool = False

    def job_id(self, what: str) -> str:
        """The id of the job about `what`: the same each time it is asked for, so that enqueueing again stores nothing."""
        digest = hashlib.sha256(f"{self.name}\n{what}".encode()).digest()
        bits = int.from_bytes(digest[:10], "big")
        clock = f"{self.began:012x}"
        high = 0x8000 | bits & 0x3FFF
        low = bits >> 32 & 0xFFFF_FFFF_FFFF
        return f"{clock[:8]}-{clock[8:]}-7{bits >> 14 & 0xFFF:03x}-{high:04x}-{low:012x}"


@dataclass(frozen=True, slots=True)
class Desk:
    """The folder where the censuses of one source folder are kept."""

    folder: Path

    @property
    def database(self) -> Path:
        """The store."""
        return self.folder / "census.db"

    @property
    def url(self) -> str:
        """The store, as every command takes it."""
        return f"sqlite:///{quote(str(self.database))}"

    @property
    def report(self) -> Path:
        """Where the page is written."""
        return self.folder / "report.html"

    @property
    def log(self) -> Path:
        """Where the workers log."""
        return self.folder / "worker.log"

    @contextmanager
    def alone(self) -> Generator[None]:
        """Hold the desk while the block runs. Raises `BadInput` when another census holds it."""
        with (self.folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(str(self.folder), "a census of this folder is running", "Wait for it, or stop it.") from None
            yield

    def load(self) -> Run | None:
        """The last run, None when there is none that can be read."""
        try:
            return msgspec.json.decode((self.folder / "run.json").read_bytes(), type=Run)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def save(self, run: Run) -> None:
        """Remember a run, whole or not at all."""
        unfinished = self.folder / "run.json.part"
        unfinished.write_bytes(msgspec.json.encode(run))
        unfinished.replace(self.folder / "run.json")


def desk_for(source: Path, under: Path | None = None) -> Desk:
    """The desk of a source folder, made if need be: in the user's cache unless `under` names another place.

    Raises `BadInput` when it cannot be made.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treadle" / "census"
    source = source.resolve()
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:8]
    folder = (under or cache / f"{source.name or 'root'}-{digest}").resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"the census cannot be kept there ({error.strerror})"
        raise BadInput(str(folder), rule, "Name another folder with --keep.") from error
    return Desk(folder)


def begin(desk: Desk, source: Path, *, fresh: bool = False) -> tuple[Run, bool]:
    """The run to work on, and whether it was begun before: the unfinished one if there is one, else a new one."""
    last = desk.load()
    if last is not None and not last.finished and not fresh and last.inventory.folder == str(source.resolve()):
        return last, True
    now = datetime.now(UTC)
    run = Run(name=f"census-{now:%Y%m%d-%H%M%S}", began=int(now.timestamp() * 1000), inventory=take_inventory(source))
    desk.save(run)
    return run, False
