"""What comes from the store cannot drive a terminal, and what scripts read is JSON whatever is in it."""

import json
import sys
from datetime import UTC, datetime

import pytest

from treadle.cli import output
from treadle.cli.output import ago, clean, colour_wanted, moment, say, show_json, show_table, span, tint

HOSTILE = "a\x1b[31mb\x07c\x9bd\u202ee\u2066f\x00g"


def test_control_characters_are_taken_out() -> None:
    assert clean(HOSTILE) == "a[31mbcdefg"
    assert clean("two\nlines\tand\r\nmore") == "two lines and  more"
    assert clean("two\nlines\x1b", lines=True) == "two\nlines"
    assert clean("\ud800") == "?"


def test_json_holds_everything_and_reaches_the_terminal_as_ascii(capsys) -> None:
    show_json({"evil": HOSTILE, "good": "grüß"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"evil": HOSTILE, "good": "grüß"}
    assert out.isascii()
    assert "\x1b" not in out


def test_a_table_keeps_its_columns_and_cleans_its_cells(capsys) -> None:
    show_table(("name", "count"), [("a\x1b[1m", 3), ("longer", None)])
    assert capsys.readouterr().out == "name    count\na[1m    3\nlonger\n"


def test_an_empty_table_says_so(capsys) -> None:
    show_table(("name",), [], empty="Nothing here.")
    assert capsys.readouterr().out == "Nothing here.\n"


def test_on_a_terminal_the_last_column_gives_way(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    show_table(("id", "text"), [("1", "x" * 50)])
    assert capsys.readouterr().out.splitlines()[1] == "1   " + "x" * 15 + "…"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_is_left_out_when_it_is_not_wanted(monkeypatch, capsys, name, value) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colour_wanted() is None
    monkeypatch.setenv(name, value)
    assert colour_wanted() is False
    say(tint("dead"))
    assert capsys.readouterr().out == "dead\n"


def test_spans_are_short() -> None:
    assert [span(each) for each in (0.0, 0.85, 12.4, 90, 150, 7200, 200_000)] == [
        "0ms",
        "850ms",
        "12s",
        "90s",
        "2m",
        "2h",
        "2d",
    ]


def test_moments_are_iso_and_ages_know_the_future() -> None:
    assert moment(datetime(2023, 11, 14, 22, 13, 20, 123_456, UTC)) == "2023-11-14T22:13:20.123Z"
    assert moment(None) is None
    assert ago(datetime.fromtimestamp(1000, UTC), 1005.0) == "5s"
    assert ago(datetime.fromtimestamp(1000, UTC), 990.0) == "in 10s"
    assert ago(None, 0.0) == ""


def test_states_have_colours() -> None:
    assert output.tint("dead") == "\x1b[31mdead\x1b[0m"
    assert output.tint("unheard of") == "unheard of"
