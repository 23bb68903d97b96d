"""What a worker tells the store of the code that it serves: where each task runs, and what is judged when it is claimed."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from treadle.app.registry import Registry
from treadle.model.job import WorkerInfo
from treadle.model.record import Record, Space, Write


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of a record in `Space.SERVED`, under the target that is served.

    `places` says which executor runs a task, by its name, and `slots` how many each has in one process.
    """

    places: Mapping[str, str] = {}
    gated: Sequence[str] = ()
    slots: Mapping[str, int] = {}


_decoder = msgspec.json.Decoder(Served)


def served_write(target: str, registry: Registry, slots: Mapping[str, int]) -> Write:
    """The record of a worker that serves these tasks."""
    settings = {name: registry.expect(name).settings for name in registry.names()}
    places = {name: each.executor for name, each in settings.items()}
    found = Served(places, [name for name, each in settings.items() if each.gated], slots)
    return Write(Space.SERVED, target, msgspec.json.encode(found).decode())


def read_served(records: Iterable[Record]) -> list[Served]:
    """What workers have told; one that another version told otherwise says nothing."""
    found: list[Served] = []
    for record in records:
        try:
            found.append(_decoder.decode(record.value))
        except msgspec.MsgspecError:
            continue
    return found


def slots_of(worker: WorkerInfo, told: Sequence[Served]) -> Mapping[str, float]:
    """A worker's slots by executor, as the code that is most like its own told them; all under "" where none is.

    Workers of one code may have been started with other numbers of slots: these are shared in the same proportion.
    """
    tasks = set(worker.tasks)
    like = max(told, key=lambda each: len(tasks & each.places.keys()), default=Served())
    whole = sum(like.slots.values())
    if not whole or tasks.isdisjoint(like.places):
        return {"": worker.slots}
    return {place: worker.slots * number / whole for place, number in like.slots.items()}
