"""Compare-and-set over a few records in memory: what engines that decide in Python share. No I/O."""

from dataclasses import dataclass, field

from treadle.model.record import Write, Written

Name = tuple[str, str]


@dataclass(slots=True)
class Ledger:
    """Versions as they were read, and what has changed since: tried one after the other, stored in one go."""

    versions: dict[Name, int]
    changed: dict[Name, str | None] = field(default_factory=dict[Name, "str | None"])

    def apply(self, write: Write) -> Written:
        """Try one write; later ones see it."""
        name = (str(write.space), write.key)
        version = self.versions.get(name, 0)
        if write.expect is not None and write.expect != version:
            return Written(False, version)
        version = 0 if write.value is None else version + 1
        self.versions[name] = version
        self.changed[name] = write.value
        return Written(True, version)

    def puts(self) -> list[tuple[str, str, str, int]]:
        """What is to be stored, as (space, key, value, version)."""
        return [(*name, value, self.versions[name]) for name, value in self.changed.items() if value is not None]

    def removals(self) -> list[Name]:
        """What is to be deleted."""
        return [name for name, value in self.changed.items() if value is None]
