"""What an operator is told of jobs that run alone, of what workers hold, and of a store whose namespace the code names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle import Treadle
from treadle.model.job import Want, Witness, WorkerInfo


def lose(app: Treadle, lease: str) -> None:
    """A worker takes what there is, and is lost with it."""
    engine = app.store.engine
    app.session.run(engine.renew(lease, 0, 600.0, worker=WorkerInfo("host:1", "host", 1, ("default",), ("tasks.hello",), 4)))
    app.session.run(engine.claim(lease, [Want("default", 10, 10)], ["tasks.hello"], suspects=10))
    app.session.run(engine.rescue([Witness(lease, "signal 9")], delay=0.0))
    app.session.run(engine.promote())


def test_jobs_that_run_alone_say_so(command: Callable[..., Any], app: Treadle) -> None:
    job = app.enqueue("tasks.hello", {"name": "Ada"})
    lose(app, "first")
    app.enqueue("tasks.hello", {"name": "Bo"})
    live = WorkerInfo("host:1", "host", 1, ("default",), ("tasks.hello",), 4)
    app.session.run(app.store.engine.renew("alive", 0, 600.0, worker=live))

    assert "suspect: its worker was lost once; it runs alone" in command("jobs", "show", job.id).out
    lose(app, "second")
    assert "suspect: its worker was lost 2 times; it runs alone" in command("jobs", "list").out
    assert "default: 2 of the oldest jobs are suspects: a worker was lost with them" in command("queues", "list").err
    assert command("queues", "list", "--json").json[0]["suspects"] == 2
    [found] = [each for each in command("doctor", "--json").json["checks"] if each["name"] == "suspects"]
    assert (found["level"], found["message"].split(" were ")[0]) == ("warning", "2 of the oldest jobs in queue default")


def test_what_a_worker_took_ahead_is_not_called_running(command: Callable[..., Any], app: Treadle) -> None:
    app.enqueue_many([app.call("tasks.hello", {"name": "Ada"}) for _ in range(3)])
    engine = app.store.engine
    app.session.run(engine.renew("one", 0, 600.0, worker=WorkerInfo("host:1", "host", 1, ("default",), ("tasks.hello",), 1)))
    app.session.run(engine.claim("one", [Want("default", 10, 10)], ["tasks.hello"]))

    shown = command("workers").out.splitlines()
    assert re.split(r"  +", shown[0].lower())[3:6] == ["lease", "slots", "claimed"]
    assert re.split(r"  +", shown[1])[3:6] == ["live", "1", "3"]
    assert command("workers", "--json").json[0]["claimed"] == 3


def test_a_namespace_that_the_code_names_can_be_said(command: Callable[..., Any], folder: Path) -> None:
    (folder / "shop.py").write_text(
        "from treadle import Treadle\n\napp = Treadle(namespace='shop')\n\n\n@app.task\ndef sell() -> None: ...\n"
    )
    assert command("enqueue", "shop.sell").code == 0
    assert command("jobs", "list", "--json").json == []
    assert [job["task"] for job in command("jobs", "list", "--namespace", "shop", "--json").json] == ["shop.sell"]
    assert command("migrate", "--namespace", "shop", "--json").json == {"applied": [], "pending": []}
    assert command("migrate", "--app", "shop", "--plan", "--json").json == {"applied": [], "pending": []}
    assert command("health", "--namespace", "shop").code == 0
    assert command("enqueue", "shop.sell", "--namespace", "treadle").code == 0
    assert len(command("jobs", "list", "--json").json) == 1
