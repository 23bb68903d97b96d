"""The report is one page that needs nothing but itself, whatever the files are called."""

import re
from html.parser import HTMLParser

from treadle.cli.census.chart import Bar, Dot, bars, columns, curve, scatter, short
from treadle.cli.census.measure import Measures, measure
from treadle.cli.census.report import Census, Package, Refusal, page

EVIL = "<script>alert('&\"')</script>.py"


def a_census(**changes) -> Census:
    measures = [measure(b"def f(x):\n    return 1 if x else 2\n" * count, f"{EVIL}{count}") for count in (1, 20, 300)]
    package = Package(
        package=EVIL,
        files=3,
        refused=1,
        lines=642,
        functions=321,
        classes=0,
        complexity=324,
        size=1,
        compressed=1,
        hardest_file=EVIL,
        hardest="f",
        hardest_score=2,
    )
    given = {
        "folder": EVIL,
        "when": "22 November 2025",
        "measures": measures,
        "packages": [package],
        "refusals": [Refusal(file=EVIL, reason=EVIL, id="x")],
        "retried": 2,
        "ends": [0.5, 1.0, 2.5],
    }
    return Census(**(given | changes))


class Balanced(HTMLParser):
    """Checks that what is opened is closed."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_alone() -> None:
    text = page(a_census())
    reader = Balanced()
    reader.feed(text)
    assert reader.open == []
    assert "script" not in reader.seen
    assert {"svg", "table", "style", "details"} <= reader.seen
    assert not re.search(r"(?:src|href|url|@import)\s*[=(]", text)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_names_are_escaped_everywhere() -> None:
    text = page(a_census())
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_census_of_nothing_that_parses_is_still_a_page() -> None:
    reader = Balanced()
    reader.feed(page(a_census(measures=[], packages=[], ends=[])))
    assert reader.open == []


def test_a_census_of_one_empty_file_is_still_a_page() -> None:
    only: list[Measures] = [measure(b"", "empty.py")]
    reader = Balanced()
    reader.feed(page(a_census(measures=only, ends=[0.0])))
    assert reader.open == []


def numbers(drawing: str) -> list[float]:
    return [float(each) for each in re.findall(r'(?:x|y|cx|cy|x1|x2|y1|y2|width|height)="(-?[\d.]+)"', drawing)]


def test_everything_drawn_stays_inside_the_frame() -> None:
    drawings = [
        bars([Bar("a", 5, ""), Bar("b", 0, "")], ""),
        columns([("1", 3), ("2", 0), ("4", 11)], "", "x", "y"),
        scatter([Dot(1, 1, ""), Dot(9999, 843, ""), Dot(3, 7, "")], "", "x", "y", named=1),
        curve([(0, 0), (1, 3), (2.5, 1790)], "", "x", "y"),
    ]
    for drawing in drawings:
        width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', drawing)[0])
        assert all(0 <= number <= max(width, height) for number in numbers(drawing)), drawing


def test_a_taller_bar_stands_for_more() -> None:
    drawing = columns([("a", 10), ("b", 5), ("c", 0)], "", "x", "y")
    heights = [float(each) for each in re.findall(r'<rect[^>]* height="([\d.]+)"', drawing)]
    assert heights[0] > heights[1] > heights[2] == 0
    assert abs(heights[0] - 2 * heights[1]) < 0.2


def test_labels_are_short() -> None:
    assert [short(each) for each in (0, 7, 0.5, 950, 1000, 1234, 34_567, 1_100_000)] == [
        "0",
        "7",
        "0.5",
        "950",
        "1k",
        "1.2k",
        "35k",
        "1.1M",
    ]
