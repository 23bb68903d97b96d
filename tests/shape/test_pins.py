"""constraints.txt pins what pyproject.toml asks for, with hashes, and says nothing about where packages come from."""

import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = (ROOT / "constraints.txt").read_text()
ENTRIES = [entry for entry in re.sub(r"\\\n\s*", "", PINS).splitlines() if entry and not entry.startswith("#")]


def asked_for() -> list[Requirement]:
    """Every requirement of the package, its extras, its tests and its build, our own name left out."""
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    texts = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["test"], *PROJECT["build-system"]["requires"]]
    texts += [text for listed in extras.values() for text in listed]
    return [each for each in map(Requirement, texts) if each.name != "treadle"]


def test_every_requirement_is_pinned_to_a_version_it_allows() -> None:
    pins = {canonicalize_name(found[1]): found[2] for entry in ENTRIES if (found := re.match(r"([\w.-]+)==([^ ;]+)", entry))}
    missing = [str(each) for each in asked_for() if canonicalize_name(each.name) not in pins]
    assert missing == [], "run `make lock`"
    assert [str(each) for each in asked_for() if not each.specifier.contains(pins[canonicalize_name(each.name)])] == []


def test_every_pin_has_hashes() -> None:
    assert [entry for entry in ENTRIES if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_the_pins_name_no_place() -> None:
    assert re.findall(r"://|--(?:extra-)?index|--find-links", PINS) == []
