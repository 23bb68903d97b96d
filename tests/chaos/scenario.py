"""One run from the first process to the verdict: start, load, harm, heal, drain, stop, check."""

import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers.ground import GROUNDS, Ground
from treadle.worker.options import WorkerOptions

from .account import Account
from .checker import Report, check
from .fleet import HERE, PATH, Crew, Part, until
from .history import load
from .nemesis import GAP, Nemesis
from .weather import Weather

SHARE = 1 / 3
"""How much of the lease one call to a store on a server may take; by default it is a sixth."""

BACKLOG = 250
"""Jobs in hand at which the producers rest until half of them are done."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What one run is made of. `deaths` are those of the store's server, which forgets what it has just acknowledged when it is
    `careless`; `troubles` are the network's on the way to it. `jobs` is how many each producer enqueues at most, `rate` how
    many a second.

    `crews` are the numbers of worker processes under each supervisor. `mutant` names a module that breaks treadle on
    purpose in every process of the fleet. `allowance` is seconds added to the bounds on recovery, None leaves them alone.
    """

    name: str
    kills: int = 0
    freezes: int = 0
    deaths: int = 0
    troubles: int = 0
    careless: bool = False
    jobs: int = 1_000_000
    rate: float = 40.0
    producers: int = 2
    crews: tuple[int, ...] = (2, 1)
    lease: float = 2.0
    slots: int = 8
    crash_delay: float = WorkerOptions(target="any").crash_delay
    menu: str = "mixed"
    mutant: str | None = None
    allowance: float | None = 0.0
    drain: float = 120.0

    @property
    def harmful(self) -> bool:
        """Whether anything is struck at all."""
        return bool(self.kills or self.freezes or self.deaths or self.troubles)

    @property
    def longest(self) -> float:
        """Seconds after which the harm stops by itself, done or not."""
        return 90.0 + 4 * GAP * (self.kills + self.deaths + self.troubles) + 6 * self.lease * (self.freezes + self.deaths / 2)


@dataclass
class Stage:
    """The processes of one run, in a folder of its own."""

    scenario: Scenario
    engine: str
    seed: str
    folder: Path
    ground: Ground | None = None
    crews: list[Crew] = field(default_factory=list)
    producers: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.direct = self.url = f"{self.engine}:///{self.folder}/chaos.db"
        if self.ground is not None:
            self.direct, self.url = self.ground.direct, self.ground.url(timeout=max(1.0, scenario.lease * SHARE))
        environment = {"TREADLE_URL": self.url, "CHAOS_FOLDER": str(self.folder), "PYTHONPATH": PATH}
        if scenario.mutant is not None:
            mutants = Path(__file__).parent / "mutants"
            environment |= {"CHAOS_MUTANT": f"{HERE}.mutants.{scenario.mutant}", "PYTHONPATH": f"{mutants}:{PATH}"}
        for number, processes in enumerate(scenario.crews):
            self.crews.append(Crew(f"crew{number}", self.options(processes), self.folder, environment))
        for number in range(scenario.producers):
            name = f"producer{number}"
            words = [
                name,
                self.seed,
                str(scenario.rate / scenario.producers),
                str(scenario.lease),
                str(scenario.jobs),
                scenario.menu,
            ]
            command = [sys.executable, "-m", f"{HERE}.producer", *words]
            self.producers.append(Part(name, command, self.folder, environment))

    def options(self, processes: int) -> WorkerOptions:
        scenario = self.scenario
        return WorkerOptions(
            target=f"{HERE}.tasks:app",
            processes=processes,
            async_slots=scenario.slots,
            threads=scenario.slots // 2,
            children=1,
            lease=scenario.lease,
            # A job that outlives its lease outlives this too: a worker without a supervisor hands it back.
            grace=scenario.lease,
            kill_grace=1.0,
            crash_delay=scenario.crash_delay,
        )

    def close(self) -> None:
        """End every process of the run, whatever state it is in."""
        for producer in self.producers:
            producer.signal(signal.SIGKILL)
        for crew in self.crews:
            crew.kill()


@contextmanager
def staged(scenario: Scenario, engine: str, seed: str) -> Iterator[Stage]:
    """The stage of a run in a temporary folder. Kept, and its place told, when the run breaks off."""
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{scenario.name}-"))
    with GROUNDS[engine](folder, careless=scenario.careless) if engine in GROUNDS else nullcontext() as ground:
        if ground is not None:
            ground.migrate()
        stage = Stage(scenario, engine, seed, folder, ground)
        try:
            yield stage
        except BaseException:
            print(f"  the files of the run stay in {folder}", flush=True)
            raise
        finally:
            stage.close()


def play(scenario: Scenario, engine: str, seed: str) -> tuple[Report, Path]:
    """Run a scenario to its end; returns the verdict and the folder in which its files lie."""
    with staged(scenario, engine, seed) as stage:
        account = Account(stage.direct)
        try:
            began = time.monotonic()
            open_(stage, account)
            nemesis = harm(stage, account)
            (stage.folder / "enough").touch()
            codes = [producer.wait(30) for producer in stage.producers]
            drained = time.monotonic()
            unfinished = drain(stage, account)
            took = {"harm_s": round(drained - began, 1), "drain_s": round(time.monotonic() - drained, 1)}
            codes += stop(stage)
            account.write(stage.folder)
        finally:
            account.close()
    report = check(load(stage.folder, lease=scenario.lease), allowance=scenario.allowance)
    if unfinished:
        report.broken["unfinished"].append(f"{unfinished} jobs had not ended {scenario.drain:g} s after the harm")
    missing = {kind: count for kind, count in nemesis.left.items() if count > 0}
    if missing:
        report.broken["incomplete"].append(f"there was no time for {missing}")
    if any(codes):
        report.broken["unclean_exit"].append(f"producers and supervisors ended with {codes}")
    report.figures |= took | {"refused_in_logs": refused(stage), "stranded": nemesis.stranded, "folder": str(stage.folder)}
    return report, stage.folder


def open_(stage: Stage, account: Account) -> None:
    """Start everything: first the workers, and when all of them hold a lease, the producers."""
    wanted = sum(stage.scenario.crews)
    for crew in stage.crews:
        crew.start()
    until(lambda: len(account.workers()) >= wanted, 60, f"{wanted} workers at work (see {stage.folder})")
    for producer in stage.producers:
        producer.start()


def harm(stage: Stage, account: Account) -> Nemesis:
    """Strike as often as the scenario says while the producers work, at the longest until they have nothing more to enqueue."""
    scenario = stage.scenario
    draw = random.Random(stage.seed)
    weather = stage.ground and Weather(stage.ground, account, draw, scenario.lease, stage.folder)
    nemesis = Nemesis(
        stage.crews,
        stage.producers,
        account,
        draw,
        scenario.kills,
        scenario.freezes,
        scenario.lease,
        stage.folder,
        weather,
        scenario.deaths,
        scenario.troubles,
    )
    end = time.monotonic() + scenario.longest
    look_at = 0.0

    def over() -> bool:
        nonlocal look_at
        nemesis.tick()
        if time.monotonic() >= look_at:
            rest(stage.folder / "hold", account.live())
            look_at = time.monotonic() + 0.5
        harmed = nemesis.done and scenario.harmful
        return harmed or not any(each.alive for each in stage.producers) or time.monotonic() > end

    until(over, scenario.longest + 60, "the harm is done")
    nemesis.heal()
    return nemesis


def rest(hold: Path, backlog: int) -> None:
    """Let the producers rest while there is much to do."""
    if backlog > BACKLOG:
        hold.touch()
    elif backlog < BACKLOG // 2:
        hold.unlink(missing_ok=True)


def drain(stage: Stage, account: Account) -> int:
    """Wait until every job has ended; returns how many have not, when time is up."""
    try:
        until(lambda: account.live() == 0, stage.scenario.drain, "every job has ended")
    except TimeoutError:
        return account.live()
    return 0


def stop(stage: Stage) -> list[int]:
    """End the crews as an operator would; returns their exit codes."""
    for crew in stage.crews:
        crew.signal(signal.SIGTERM)
    return [crew.wait(30) for crew in stage.crews]


def refused(stage: Stage) -> int:
    """How many late outcomes the workers say were refused."""
    return sum(crew.log.read_text(errors="replace").count("came too late and was refused") for crew in stage.crews)


def as_json(report: Report) -> dict[str, Any]:
    """A report as plain values."""
    broken: dict[str, Any] = {name: cases[:20] for name, cases in report.broken.items() if cases}
    return json.loads(json.dumps({"ok": report.ok, "broken": broken, "figures": report.figures}))
