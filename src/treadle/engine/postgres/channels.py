"""Topics as PostgreSQL's channels: names of at most 63 bytes, one for each topic, that tell the kind."""

import hashlib
from functools import lru_cache

from treadle.engine.postgres.steps import texts


class Channels:
    """The channels of one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def name(self, topic: str) -> str:
        """The channel of a topic such as `queue:default`. Two topics may share one, and then wake each other."""
        return _name(self._namespace, topic)

    def listed(self, topics: frozenset[str]) -> str:
        """The channels of topics as an array. The queues of an enqueue are the same again and again."""
        return _listed(self._namespace, topics)

    def prefix(self, kind: str) -> str:
        """What the channels of all topics of a kind begin with."""
        return f"{self._namespace}:{kind}:"


@lru_cache(maxsize=4096)
def _name(namespace: str, topic: str) -> str:
    kind, _, _ = topic.partition(":")
    return f"{namespace}:{kind}:{hashlib.blake2s(topic.encode(), digest_size=7).hexdigest()}"


@lru_cache(maxsize=256)
def _listed(namespace: str, topics: frozenset[str]) -> str:
    return texts({_name(namespace, topic) for topic in topics})
