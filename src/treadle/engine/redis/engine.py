"""The Redis engine: the verbs of the contract, gathered from their rooms."""

from treadle.engine.redis.facts import Facts
from treadle.engine.redis.keeping import Keeping
from treadle.engine.redis.operating import Operating
from treadle.engine.redis.producing import Producing
from treadle.engine.redis.working import Working


class RedisEngine(Producing, Working, Keeping, Operating, Facts):
    """Plans of calls to scripts; the session knows the namespace."""
