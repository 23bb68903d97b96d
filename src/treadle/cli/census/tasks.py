"""The three tasks of a census. Serve them with `treadle worker treadle.cli.census.tasks`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from treadle import HIGH, Context, Filter, GiveUp, Job, Page, Retries, State, Treadle
from treadle.cli.census.measure import Measures, Unparsable, measure
from treadle.cli.census.report import Census, Package, Refusal, page

FILES = "files"
PACKAGES = "packages"
_PAGE = 500

app: Treadle = Treadle()


@app.task(name="census.measure", queue=FILES, executor="process", timeout="2m", retry=Retries(["500ms", "2s"]))
def measure_file(ctx: Context, path: str, name: str, flaky: bool = False) -> Measures:
    """Measure one source file. A file that does not parse never will: give up at once.

    A `flaky` file lies on a disk that fails until the first failure has been counted.
    """
    if flaky and ctx.failures == 0:
        raise OSError(f"{name}: the disk did not answer (deliberate, to show a retry)")
    try:
        source = Path(path).read_bytes()
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise GiveUp(f"{type(error).__name__}: {error.strerror}") from error
    try:
        return measure(source, name)
    except Unparsable as error:
        raise GiveUp(str(error)) from error


@app.task(name="census.summarise", queue=PACKAGES, priority=HIGH)
def summarise_package(ctx: Context, package: str) -> Package:
    """Add up the files of one package: the jobs this one waited for, dead or alive."""
    parents = [parent.id for parent in app.client.get(ctx.id).parents]
    jobs = [job for start in range(0, len(parents), _PAGE) for job in _found(Filter(ids=parents[start : start + _PAGE]))]
    measures = [_measures(job) for job in jobs if job.state is State.COMPLETED]
    hardest = max(measures, key=lambda each: each.hardest_score, default=None)
    return Package(
        package=package,
        files=len(measures),
        refused=sum(job.state is State.DEAD for job in jobs),
        lines=sum(each.lines for each in measures),
        functions=sum(each.functions for each in measures),
        classes=sum(each.classes for each in measures),
        complexity=sum(each.complexity for each in measures),
        size=sum(each.size for each in measures),
        compressed=sum(each.compressed for each in measures),
        hardest_file=hardest.file if hardest else "",
        hardest=hardest.hardest if hardest else "",
        hardest_score=hardest.hardest_score if hardest else 0,
    )


@app.task(name="census.report", queue=PACKAGES, priority=HIGH)
def write_report(ctx: Context, folder: str, to: str) -> str:
    """Write the page about every job of this run, and return where it is."""
    (run,) = ctx.tags
    files = list(_found(Filter(tag=run, tasks=["census.measure"])))
    packages = list(_found(Filter(tag=run, tasks=["census.summarise"], states=[State.COMPLETED])))
    began = min((job.enqueued_at for job in files), default=ctx.enqueued_at)
    census = Census(
        folder=folder,
        when=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        measures=[_measures(job) for job in files if job.state is State.COMPLETED],
        packages=[msgspec.convert(job.result, Package) for job in packages],
        refusals=[
            Refusal(file=file_name(job), reason=job.dead.reason, id=job.id)
            for job in files
            if job.state is State.DEAD and job.dead
        ],
        retried=sum(was_retried(job) for job in files),
        ends=[(job.finished_at - began).total_seconds() for job in files if job.finished_at is not None],
    )
    unfinished = Path(f"{to}.part")
    unfinished.write_text(page(census), encoding="utf-8")
    unfinished.replace(to)
    return to


def file_name(job: Job) -> str:
    """What the file of a `census.measure` job is called."""
    name: str = job.args["name"]
    return name


def was_retried(job: Job) -> bool:
    """Whether a failure was followed by another attempt; the failure that a job died of was not."""
    return job.failures > (job.state is State.DEAD)


def _measures(job: Job) -> Measures:
    return msgspec.convert(job.result, Measures)


def _found(where: Filter) -> Iterator[Job]:
    """Every job that is meant, page by page."""
    after = None
    while jobs := app.client.find(where, Page(limit=_PAGE, after=after)):
        yield from jobs
        after = jobs[-1].id
