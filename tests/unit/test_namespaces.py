"""Which namespaces there may be: the same on every engine, so that a move to another one is a changed URL and no more."""

import pytest

from treadle.engine.open import open_store
from treadle.model.errors import InvalidOption

URLS = ["sqlite:///jobs.db", "memory://jobs", "postgresql://h/jobs", "redis://h"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "namespace",
    ["", "Shop", "1st", "a-b", "a b", "a" * 42, "läden", "shop\n", "٣", 'x"; DROP TABLE y; --', "x'--", "a}b", "{ns}", None, 7],
)
def test_a_namespace_that_is_none(url: str, namespace: str) -> None:
    with pytest.raises(InvalidOption, match="a namespace is a lower-case word of at most 41 letters"):
        open_store(url, namespace=namespace, allow_volatile=True)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("namespace", ["public", "information_schema", "pg_jobs", "pg_", "sqlite", "sqlite_jobs"])
def test_a_namespace_that_one_engine_could_not_have_is_refused_by_all(url: str, namespace: str) -> None:
    with pytest.raises(InvalidOption, match="for itself"):
        open_store(url, namespace=namespace, allow_volatile=True)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("namespace", ["a" * 41, "select", "_", "pg", "sqlites", "publicity"])
def test_a_namespace_that_will_do(url: str, namespace: str) -> None:
    open_store(url, namespace=namespace, allow_volatile=True).close()
