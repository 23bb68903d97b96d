"""Bodies in real child processes: what dies, what is charged, what goes on."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest

from treadle.model.outcome import Cancelled, Cause, Completed, Crashed, Died, NoteKind, Released, Retrying
from treadle.worker.executors.processes import ProcessExecutor
from treadle.worker.run import Stop
from worker.bench import PATIENCE, FakeBench, Runs, lines, until

TASKS = """
import ctypes, logging, os, signal, subprocess, sys, time
from pathlib import Path
from treadle import Context, Treadle

app = Treadle("sqlite:///:unused:")
task = app.task(executor="process")

def note(file, line):
    with Path(file).open("a") as out:
        out.write(line + chr(10))

@task
def pid() -> int:
    return os.getpid()

@task
def number(n: int) -> int:
    return n

@task
def length(text: str) -> int:
    return len(text)

@task
def hold(count: int) -> int:
    # One instruction of Python: no signal handler and no other thread runs before it ends.
    return sum(range(count))

@task
def much(size: int) -> str:
    return "x" * size

@task
def record(file: str, word: str) -> str:
    note(file, word)
    return word

@task
def die(how: int, file: str | None = None) -> None:
    if file:
        note(file, "dying")
    if how > 0:
        os.kill(os.getpid(), how)
        time.sleep(60)
    os._exit(-how)

@task
def segfault() -> None:
    ctypes.string_at(0)

@task
def leave() -> None:
    sys.exit(3)

@task
def spin(file: str) -> None:
    note(file, "spinning")
    try:
        while True:
            pass
    finally:
        note(file, "cleaned up")

@task
def cling(file: str) -> None:
    note(file, f"clinging {os.getpid()}")
    while True:
        try:
            while True:
                pass
        except BaseException:
            note(file, "asked")

@task
def wait_for(file: str, start: str) -> str:
    note(start, "waiting")
    while not Path(file).exists():
        time.sleep(0.005)
    return "found"

@task
def talk(ctx: Context) -> bool:
    for n in range(20001):
        ctx.progress(n / 20000)
    return ctx.cancelled

@task
def hoard(size: int) -> int:
    hoard.kept = b"x" * size
    return os.getpid()

@task
def spawn_program() -> int:
    program = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    return 1 if b"True" in subprocess.run([sys.executable, "-c", program], capture_output=True).stdout else 0

@task
def leave_a_fork(file: str) -> int:
    child = os.fork()
    if not child:
        while not Path(file).exists():
            time.sleep(0.01)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)

@task
def fork_through(file: str) -> int:
    if not os.fork():
        note(file, str(os.getpid()))
    return os.getpid()

@task
def close_everything() -> int:
    os.closerange(3, 256)
    return 1

@task
def print_loudly(text: str) -> None:
    print(text, flush=True)

@task
def logs(text: str) -> None:
    logging.getLogger("mine").warning(text)
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    name = f"tasks_{os.urandom(6).hex()}"
    (tmp_path / f"{name}.py").write_text(TASKS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made = Runs(name)
    made.target = name  # type: ignore[attr-defined]
    original = made.run
    made.run = lambda task, **args: original(f"{name}.{task}", **args)  # type: ignore[method-assign]
    yield made
    sys.modules.pop(name, None)


def executors_children() -> list[psutil.Process]:
    """The living children of this process that serve an executor: the servers of other tests are its children as well."""
    serving: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "treadle.worker.executors.child" in " ".join(child.cmdline()):
                serving.append(child)
    return serving


@asynccontextmanager
async def executor(bench: FakeBench, target: str, **options: Any) -> AsyncIterator[ProcessExecutor]:
    settings: dict[str, Any] = {"slots": 2, "kill_grace": 5.0, **options}
    made = ProcessExecutor(bench, target=target, lease="L", **settings)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
        assert executors_children() == []


def process_test(body: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def test(runs: Runs, tmp_path: Path) -> None:
        asyncio.run(body(runs, tmp_path))

    test.__name__ = body.__name__
    return test


@process_test
async def test_jobs_run_in_other_processes_and_results_come_back(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target) as place:
        assert place.free() == 2
        jobs = [runs.run("number", n=n) for n in range(2000)]
        place.submit(jobs)
        ended = await bench.until_ended(*jobs)
        assert ended == [Completed(str(n)) for n in range(2000)]
        assert {len(bench.outcomes), place.free()} == {2000, 2}
        assert place.room() > 2, "a buffer follows from what was measured"
        (mine,) = await _run(bench, place, runs.run("pid"))
        assert mine != Completed(str(os.getpid()))


async def _run(bench: FakeBench, place: ProcessExecutor, *jobs: Any) -> list[Any]:
    place.submit(jobs)
    return await bench.until_ended(*jobs)


@process_test
async def test_exactly_the_job_a_child_was_executing_is_charged(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    trail = tmp_path / "trail"
    async with executor(bench, runs.target, slots=1, crash_delay=7.0) as place:
        warm = [runs.run("record", file=str(trail), word="warm") for _ in range(50)]
        killer = runs.run("die", how=signal.SIGKILL, file=str(trail))
        await _run(bench, place, *warm, runs.run("die", how=signal.SIGKILL))
        trail.unlink()
        # The killer stands in the middle of a chunk: those before it must not lose their outcome, those behind not run twice.
        before = [runs.run("record", file=str(trail), word=f"before {n}") for n in range(100)]
        after = [runs.run("record", file=str(trail), word=f"after {n}") for n in range(100)]
        ended = await _run(bench, place, *before, killer, *after)
        assert ended[100] == Crashed("signal 9", 7.0)
        assert [each for each in ended if not isinstance(each, Completed)] == [ended[100]]
        words = lines(trail)
        assert sorted(words) == sorted([f"before {n}" for n in range(100)] + ["dying"] + [f"after {n}" for n in range(100)])


@process_test
async def test_children_killed_at_random_start_no_body_twice_and_lose_no_outcome(runs: Runs, tmp_path: Path):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    bench = FakeBench()
    trail = tmp_path / "trail"
    async with executor(bench, runs.target, slots=2) as place:
        jobs = [runs.run("record", file=str(trail), word=str(number)) for number in range(8000)]
        rest, kills = list(jobs), 0
        end = monotonic() + PATIENCE
        while len(bench.outcomes) < len(jobs):
            assert monotonic() < end
            if rest and (room := min(place.room(), 500)) > 0:
                place.submit(rest[:room])
                del rest[:room]
            due = len(bench.outcomes) > kills * len(jobs) / 10
            if due and dice.random() < 0.5 and (children := executors_children()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    dice.choice(children).kill()
                    kills += 1
            bench.changed.clear()
            # Room may come back without an outcome: when a new child is ready.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(dice.uniform(0.0, 0.02)):
                    await bench.changed.wait()
    begun = Counter(lines(trail))
    assert max(begun.values()) == 1
    crashes = 0
    for number, job in enumerate(jobs):
        match bench.outcomes[job.claimed.id]:
            case Completed(result):
                assert (result, begun[str(number)]) == (f'"{number}"', 1)
            case Crashed(how):
                assert how == "signal 9"
                crashes += 1
            case other:
                assert (other, begun[str(number)]) == (Released(), 0)
    assert 1 <= crashes <= kills


@process_test
async def test_large_arguments_and_large_results_cross(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target, slots=1) as place:
        sent = [runs.run("length", text="y" * 60_000) for _ in range(200)]
        assert await _run(bench, place, *sent) == [Completed("60000")] * 200
        received = await _run(bench, place, *(runs.run("much", size=size) for size in (262_140, 10, 262_000, 100_000, 200_000)))
        assert [len(each.result) - 2 for each in received] == [262_140, 10, 262_000, 100_000, 200_000]


@process_test
async def test_each_way_to_die_is_told_and_the_next_child_serves(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target, slots=1) as place:
        ended = await _run(
            bench, place, runs.run("segfault"), runs.run("die", how=-3), runs.run("die", how=0), runs.run("number", n=1)
        )
        assert [ended[0], ended[1], ended[2]] == [Crashed("signal 11", 1.0), Crashed("exit 3", 1.0), Crashed("exit 0", 1.0)]
        assert ended[3] == Completed("1")


@process_test
async def test_leaving_python_is_a_failure_not_a_crash(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target) as place:
        (outcome,) = await _run(bench, place, runs.run("leave"))
        assert isinstance(outcome, Retrying)
        assert "SystemExit" in outcome.error


@process_test
async def test_an_endless_loop_is_interrupted_and_cleans_up(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    trail = tmp_path / "trail"
    async with executor(bench, runs.target, slots=1) as place:
        run = runs.run("spin", file=str(trail))
        place.submit([run])
        await until(lambda: lines(trail) == ["spinning"])
        run.stop = Stop.CANCEL
        place.stop(run)
        (outcome,) = await bench.until_ended(run)
        assert outcome == Cancelled("")
        assert lines(trail) == ["spinning", "cleaned up"]
        assert await _run(bench, place, runs.run("number", n=2)) == [Completed("2")]


@process_test
async def test_a_body_that_will_not_end_is_killed(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    trail = tmp_path / "trail"
    async with executor(bench, runs.target, slots=1, kill_grace=1.0) as place:
        run = runs.run("cling", file=str(trail))
        behind = runs.run("number", n=3)
        place.submit([run, behind])
        await until(lambda: len(lines(trail)) == 1)
        run.stop = Stop.TIMEOUT
        place.stop(run)
        outcome, other = await bench.until_ended(run, behind)
        assert isinstance(outcome, Retrying)
        assert "JobTimeout" in outcome.error
        assert other == Completed("3")
        assert lines(trail)[1:] == ["asked"]
        pid = int(lines(trail)[0].split()[1])
        await until(lambda: not psutil.pid_exists(pid))


@process_test
async def test_a_body_that_never_lets_go_of_python_is_noticed_and_killed(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target, slots=1, kill_grace=0.5) as place:
        await _run(bench, place, *(runs.run("hold", count=1) for _ in range(100)))
        # Fed as one chunk: nothing the child could send says that the second has begun, or how the first ended.
        before, endless, after = runs.run("hold", count=2), runs.run("hold", count=1 << 60), runs.run("hold", count=3)
        place.submit([before, endless, after])
        await bench.until(lambda: endless in bench.begun)
        endless.stop = Stop.TIMEOUT
        place.stop(endless)
        first, timed_out, last = await bench.until_ended(before, endless, after)
        assert (first, last) == (Completed("1"), Completed("3"))
        assert isinstance(timed_out, Retrying)


@process_test
async def test_a_run_that_waits_is_stopped_without_a_start(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    gate, trail = tmp_path / "gate", tmp_path / "trail"
    async with executor(bench, runs.target, slots=1) as place:
        first = runs.run("wait_for", file=str(gate), start=str(trail))
        second = runs.run("record", file=str(trail), word="second")
        place.submit([first, second])
        await until(lambda: lines(trail) == ["waiting"])
        second.stop = Stop.CANCEL
        place.stop(second)
        assert await bench.until_ended(second) == [Cancelled("")]
        gate.touch()
        assert await bench.until_ended(first) == [Completed('"found"')]
        assert lines(trail) == ["waiting"]


@process_test
async def test_what_waits_behind_a_body_longer_than_expected_is_recalled(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    gate, trail = tmp_path / "gate", tmp_path / "trail"
    gate.touch()
    async with executor(bench, runs.target, slots=2) as place:
        # Many short ones teach the executor to feed this task in chunks.
        await _run(bench, place, *(runs.run("wait_for", file=str(gate), start=str(trail)) for _ in range(200)))
        gate.unlink()
        jobs = [runs.run("wait_for", file=str(gate), start=str(trail)) for _ in range(2)]
        jobs += [runs.run("wait_for", file=str(trail), start=str(trail)) for _ in range(20)]
        place.submit([jobs[0], *jobs[2:]])
        await bench.until_ended(*jobs[2:])
        assert jobs[0].claimed.id not in bench.outcomes
        gate.touch()
        await bench.until_ended(jobs[0])


@process_test
async def test_handing_back_returns_every_run_not_begun(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    gate, trail = tmp_path / "gate", tmp_path / "trail"
    gate.touch()
    async with executor(bench, runs.target, slots=1) as place:
        await _run(bench, place, *(runs.run("wait_for", file=str(gate), start=str(tmp_path / "warm")) for _ in range(200)))
        gate.unlink()
        jobs = [runs.run("wait_for", file=str(gate), start=str(trail)) for _ in range(2000)]
        place.submit(jobs)
        await until(lambda: lines(trail) == ["waiting"])
        back = place.hand_back()
        assert back, "more than one chunk was waiting here"
        fed = [job for job in jobs[1:] if job not in back]
        assert await bench.until_ended(*fed) == [Released()] * len(fed)
        gate.touch()
        assert await bench.until_ended(jobs[0]) == [Completed('"found"')]
        assert lines(trail) == ["waiting"]


@process_test
async def test_progress_is_passed_on_and_coalesced(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target) as place:
        run = runs.run("talk")
        assert await _run(bench, place, run) == [Completed("false")]
        assert 1 <= len(bench.said) < 10000
        assert bench.said[-1] == (run.claimed.id, NoteKind.PROGRESS, "progress", '{"fraction":1.0}')


@process_test
async def test_a_child_is_replaced_by_job_count(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target, slots=1, max_jobs=3) as place:
        ended = await _run(bench, place, *(runs.run("pid") for _ in range(10)))
        served = [each.result for each in ended]
        assert all(served.count(pid) <= 3 for pid in served)
        assert len(set(served)) >= 4


@process_test
async def test_a_child_is_replaced_by_age(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target, slots=1, max_age=1.0) as place:
        seen: set[str] = set()
        while len(seen) < 2:
            (outcome,) = await _run(bench, place, runs.run("pid"))
            seen.add(outcome.result)


@process_test
async def test_a_child_is_replaced_by_memory(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target, slots=1, max_rss=200 << 20) as place:
        (small,) = await _run(bench, place, runs.run("pid"))
        (heavy,) = await _run(bench, place, runs.run("hoard", size=300 << 20))
        assert small == heavy
        seen = heavy
        while seen == heavy:
            (seen,) = await _run(bench, place, runs.run("pid"))


@process_test
async def test_a_signal_to_the_whole_group_does_not_disturb_a_body(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    gate, trail = tmp_path / "gate", tmp_path / "trail"
    async with executor(bench, runs.target, slots=1) as place:
        run = runs.run("wait_for", file=str(gate), start=str(trail))
        place.submit([run])
        await until(lambda: lines(trail) == ["waiting"])
        for child in executors_children():
            child.send_signal(signal.SIGINT)
            child.send_signal(signal.SIGTERM)
        gate.touch()
        assert await bench.until_ended(run) == [Completed('"found"')]
        assert await _run(bench, place, runs.run("spawn_program")) == [Completed("1")]


@process_test
async def test_a_fork_left_behind_by_a_job_does_not_hide_its_death(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    gate = tmp_path / "gate"
    async with executor(bench, runs.target, slots=1) as place:
        assert await _run(bench, place, runs.run("leave_a_fork", file=str(gate))) == [Crashed("signal 9", 1.0)]
        gate.touch()


@process_test
async def test_a_body_that_returns_in_a_fork_as_well_ends_once_and_leaves_nothing(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    trail = tmp_path / "trail"
    async with executor(bench, runs.target, slots=1) as place:
        (first,) = await _run(bench, place, runs.run("fork_through", file=str(trail)))
        (second,) = await _run(bench, place, runs.run("pid"))
        assert first == second, "the child that was fed serves on"
        await until(lambda: len(lines(trail)) == 1 and not _alive(int(lines(trail)[0])))


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@process_test
async def test_a_body_that_closes_every_file_crashes_its_child_alone(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target, slots=1) as place:
        closed, after = await _run(bench, place, runs.run("close_everything"), runs.run("number", n=7))
        # By its own thread, by the end of its body, or by the worker: whoever notices first.
        assert closed in (Completed("1"), Crashed("exit 1", 1.0), Crashed("signal 9", 1.0))
        assert after == Completed("7")


@process_test
async def test_a_child_that_cannot_start_gives_its_jobs_back_and_is_tried_again(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    module = tmp_path / f"{runs.target}.py"
    good = module.read_text(encoding="utf-8")
    module.write_text("raise RuntimeError('half written')\n", encoding="utf-8")
    async with executor(bench, runs.target, slots=2) as place:
        jobs = [runs.run("pid") for _ in range(3)]
        assert await _run(bench, place, *jobs) == [Released()] * 3
        assert place.room() == 0
        assert place.free() == 0
        module.write_text(good, encoding="utf-8")
        await until(lambda: place.room() > 0)
        (outcome,) = await _run(bench, place, runs.run("number", n=4))
        assert outcome == Completed("4")


@process_test
async def test_a_payload_that_does_not_fit_ends_dead_in_the_child_too(runs: Runs, tmp_path: Path):
    bench = FakeBench()
    async with executor(bench, runs.target) as place:
        (outcome,) = await _run(bench, place, runs.run("number", n="no number"))
        assert isinstance(outcome, Died)
        assert outcome.cause is Cause.INVALID


def test_output_and_logs_of_jobs_pass_through(runs: Runs, capfd: pytest.CaptureFixture[str]):
    async def body() -> None:
        bench = FakeBench()
        async with executor(bench, runs.target, json_logs=True) as place:
            await _run(bench, place, runs.run("print_loudly", text="hear me"), runs.run("logs", text="told"))

    asyncio.run(body())
    told = capfd.readouterr()
    assert "hear me" in told.out
    assert '"message":"told"' in told.err
    assert f'"task":"{runs.target}.logs"' in told.err
