"""One source file is measured as its author would count it, or refused with the parser's own words."""

import ast
import os

import pytest

from treadle.cli.census.inventory import BROKEN, TOP, broken_folder, take_inventory
from treadle.cli.census.measure import Unparsable, measure, parse
from treadle.cli.census.refused import refused
from treadle.model.errors import BadInput

SOURCE = b"""
class A:
    def easy(self):
        return 1

    def hard(self, rows):
        for row in rows:
            if row and row.ok or row.late:
                yield [each for each in row if each if each.x]
        while rows:
            try:
                rows.pop()
            except IndexError:
                return
"""


def test_a_file_is_measured() -> None:
    found = measure(SOURCE, "a.py")
    assert (found.lines, found.functions, found.classes) == (14, 2, 1)
    # for, if, and, or, comprehension with two ifs, while, except: nine decisions, plus one
    assert (found.hardest, found.hardest_score, found.complexity) == ("hard", 10, 10)
    assert found.size == len(SOURCE) > found.compressed > 0


def test_an_empty_file_measures_nothing() -> None:
    found = measure(b"", "empty.py")
    assert (found.lines, found.functions, found.complexity, found.hardest, found.hardest_score) == (0, 0, 1, "", 0)


def test_a_last_line_without_an_end_counts() -> None:
    assert measure(b"a = 1\nb = 2", "a.py").lines == 2


def test_a_file_that_parses_deep_down_is_also_measured() -> None:
    source = ("a = " + " + ".join(["1"] * 900)).encode()
    ast.parse(source)
    assert measure(source, "deep.py").complexity == 1


@pytest.mark.parametrize("path", sorted(broken_folder().iterdir()), ids=lambda path: path.name)
def test_every_broken_example_is_refused_by_both_counts(path) -> None:
    with pytest.raises(Unparsable):
        parse(path.read_bytes(), path.name)
    assert refused([str(path)]) == [str(path)]


def test_the_examples_are_broken_for_different_reasons() -> None:
    reasons = set()
    for path in broken_folder().iterdir():
        with pytest.raises(Unparsable) as error:
            parse(path.read_bytes(), path.name)
        reasons.add(str(error.value))
    assert len(reasons) >= 7


def test_a_missing_file_counts_as_refused(tmp_path) -> None:
    assert refused([str(tmp_path / "gone.py")]) == [str(tmp_path / "gone.py")]


def test_the_inventory_names_files_and_packages(tmp_path) -> None:
    (tmp_path / "one.py").write_text("a = 1")
    (tmp_path / "pack" / "deep").mkdir(parents=True)
    (tmp_path / "pack" / "two.py").write_text("b = 2")
    (tmp_path / "pack" / "deep" / "three.py").write_text("c = 3")
    (tmp_path / "pack" / "__pycache__").mkdir()
    (tmp_path / "pack" / "__pycache__" / "no.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    found = take_inventory(tmp_path)
    packages = {package: [source.name for source in sources] for package, sources in found.packages().items()}
    broken = packages.pop(BROKEN)
    assert packages == {TOP: ["one.py"], "pack": ["pack/two.py"], "pack/deep": ["pack/deep/three.py"]}
    assert len(broken) == len(list(broken_folder().glob("*.py"))) >= 5
    assert sum(source.flaky for source in found.sources) == 3


def test_a_name_that_is_not_text_is_skipped_and_counted(tmp_path) -> None:
    (tmp_path / "one.py").write_text("a = 1")
    (tmp_path / os.fsdecode(b"na\xefve.py")).write_bytes(b"b = 2")
    found = take_inventory(tmp_path)
    assert found.skipped == 1
    assert [source.name for source in found.packages()[TOP]] == ["one.py"]


@pytest.mark.parametrize("name", ["missing", "empty", "file.py"])
def test_a_folder_without_python_is_refused(tmp_path, name) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.py").write_text("")
    with pytest.raises(BadInput):
        take_inventory(tmp_path / name)
