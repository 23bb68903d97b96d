"""The census as one HTML page: no script, no outside resource, light and dark, readable on a narrow screen."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from treadle.cli.census.chart import Bar, Dot, bars, columns, curve, scatter, short
from treadle.cli.census.measure import Measures
from treadle.cli.census.style import STYLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What one package adds up to. `refused` is how many of its files ended as dead letters."""

    package: str
    files: int
    refused: int
    lines: int
    functions: int
    classes: int
    complexity: int
    size: int
    compressed: int
    hardest_file: str
    hardest: str
    hardest_score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One dead letter: the file, and why it is one. `id` is the job's."""

    file: str
    reason: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Everything the page shows. `ends` are the seconds, from the first enqueue, at which each file's job ended."""

    folder: str
    when: str
    measures: Sequence[Measures]
    packages: Sequence[Package]
    refusals: Sequence[Refusal]
    retried: int
    ends: Sequence[float]


def page(census: Census) -> str:
    """The whole page as text."""
    title = f"Census of {census.folder}"
    made = f"{census.when} · every file one job, every package one job, this page one job"
    body = [
        f"<header><h1>{escape(title)}</h1><p>{escape(made)}</p></header>",
        _figures(census),
        '<main class="charts">',
        *_charts(census),
        "</main>",
        _refusals(census.refusals),
        _hardest(census.measures),
        _packages(census.packages),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _figures(census: Census) -> str:
    measures = census.measures
    took = max(census.ends, default=0.0)
    ended = len(census.ends)
    size = sum(each.size for each in measures)
    packed = sum(each.compressed for each in measures)
    figures = [
        ("files", f"{len(measures):,}"),
        ("lines", short(sum(each.lines for each in measures))),
        ("functions", short(sum(each.functions for each in measures))),
        ("classes", short(sum(each.classes for each in measures))),
        ("packages", f"{len(census.packages):,}"),
        ("compressed", f"{100 * packed / size:.0f} %" if size else "–"),
        ("dead letters", f"{len(census.refusals):,}"),
        ("retried", f"{census.retried:,}"),
        ("seconds", f"{took:.1f}"),
        ("files a second", f"{ended / took:.0f}" if took else "–"),
    ]
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return f'<dl class="figures">{cells}</dl>'


def _charts(census: Census) -> Iterable[str]:
    measures = census.measures
    largest = sorted(census.packages, key=lambda each: each.lines, reverse=True)[:10]
    rows = [Bar(each.package, each.lines, f"{each.package}: {each.lines:,} lines in {each.files:,} files") for each in largest]
    yield _figure("The largest packages", "Lines of code in each package's own files.", bars(rows, "Lines by package"))
    hardest = sorted(measures, key=lambda each: each.hardest_score, reverse=True)[:10]
    rows = [
        Bar(
            f"{each.hardest} · {each.file}",
            each.hardest_score,
            f"{each.hardest} in {each.file}: complexity {each.hardest_score}",
        )
        for each in hardest
        if each.hardest
    ]
    yield _figure("The hardest functions", "Cyclomatic complexity: decisions plus one.", bars(rows, "Complexity by function"))
    dots = [
        Dot(max(1, each.lines), each.complexity, f"{each.file}: {each.lines:,} lines, complexity {each.complexity:,}")
        for each in measures
    ]
    yield _figure(
        "Long files are complex files",
        "One dot for each file, both axes logarithmic. Point at one of the highest to see its name.",
        scatter(dots, "Complexity against lines", "lines", "complexity"),
    )
    yield _figure(
        "How long a file is",
        "Files by their number of lines; each column is twice as long as the one before.",
        columns(_doublings([each.lines for each in measures]), "Files by lines", "lines, at least", "files"),
    )
    yield _figure(
        "How well a file compresses",
        "Compressed size as a share of the size; files of at least 1 kB.",
        columns(_shares(measures), "Files by compression", "% of the size", "files"),
    )
    yield _figure(
        "How the work went",
        "Files ended, by seconds since the first was enqueued.",
        curve(_progress(census.ends), "Files ended over time", "seconds", "files ended"),
    )


def _figure(title: str, caption: str, drawing: str) -> str:
    return f"<figure><figcaption><h2>{escape(title)}</h2><p>{escape(caption)}</p></figcaption>{drawing}</figure>"


def _doublings(values: Sequence[int]) -> list[tuple[str, int]]:
    top = max(values, default=1)
    slots = [0] * (int(math.log2(max(1, top))) + 1)
    for value in values:
        slots[int(math.log2(max(1, value)))] += 1
    return [(short(2**place), count) for place, count in enumerate(slots)]


def _shares(measures: Sequence[Measures]) -> list[tuple[str, int]]:
    slots = [0] * 20
    for each in measures:
        if each.size >= 1000:
            slots[min(19, 20 * each.compressed // each.size)] += 1
    filled = [place for place, count in enumerate(slots) if count] or [0]
    return [(str(5 * place), slots[place]) for place in range(filled[0], filled[-1] + 1)]


def _progress(ends: Sequence[float]) -> list[tuple[float, float]]:
    """At most 121 points of the climb from (0, 0) to the last end."""
    ordered = sorted(ends)
    every = max(1, len(ordered) // 120)
    points = [(0.0, 0.0), *((end, float(place)) for place, end in enumerate(ordered, 1) if place % every == 0)]
    if ordered and points[-1][1] != len(ordered):
        points.append((ordered[-1], float(len(ordered))))
    return points


def _refusals(refusals: Sequence[Refusal]) -> str:
    rows = [(each.file, each.reason, each.id) for each in sorted(refusals, key=lambda each: each.file)]
    return _table(f"Dead letters ({len(rows)})", "Files that Python's own parser refuses.", ("file", "reason", "job"), rows)


def _hardest(measures: Sequence[Measures]) -> str:
    ranked = sorted(measures, key=lambda each: each.complexity, reverse=True)[:20]
    rows = [
        (each.file, f"{each.complexity:,}", f"{each.lines:,}", f"{each.functions:,}", f"{each.hardest} ({each.hardest_score})")
        for each in ranked
    ]
    return _table(
        "The most complex files",
        "Complexity of the whole file, and the function with the most of it.",
        ("file", "#complexity", "#lines", "#functions", "hardest function"),
        rows,
    )


def _packages(packages: Sequence[Package]) -> str:
    rows = [
        (each.package, f"{each.files:,}", f"{each.lines:,}", f"{each.functions:,}", f"{each.classes:,}", f"{each.complexity:,}")
        for each in sorted(packages, key=lambda each: each.package)
    ]
    names = ("package", "#files", "#lines", "#functions", "#classes", "#complexity")
    return f"<details><summary>All {len(rows):,} packages</summary>{_table('', '', names, rows)}</details>"


def _table(title: str, caption: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways on its own; a name that begins with # heads a column of numbers."""
    kinds = [' class="number"' if name.startswith("#") else "" for name in names]
    head = "".join(f"<th{kind}>{escape(name.lstrip('#'))}</th>" for kind, name in zip(kinds, names, strict=True))
    lines = (
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    kind = "wide" if any(kinds) else "stacked"
    heading = f"<h2>{escape(title)}</h2><p>{escape(caption)}</p>" if title else ""
    return (
        f'<section>{heading}<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></section>"
    )
