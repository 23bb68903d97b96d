"""Every example of the README and of the documentation does what its page says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("examples.py")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_EXAMPLES = [page for page in PAGES if "```python" in page.read_text() or "```console" in page.read_text()]


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TREADLE_")}
    return subprocess.run(
        [sys.executable, "-W", "error", RUNNER, page], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )


@pytest.mark.repeats
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    answer = run_page(page, tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert int(answer.stdout.split()[-2]) > 0


GOOD = """
<!-- file: two.py -->
```python
TWO = 2
```
<!-- run: import two -->
```python
import asyncio

value = await asyncio.sleep(0, two.TWO)  # -> 2
value + 1  # -> 3
int("x")  # raises ValueError
```
```console
$ echo one; \\
  echo two
one
...
$ python -c 'import two; print(two.TWO)'
2
```
<!-- shown only: it needs a machine of its own -->
```python
raise SystemExit
```
"""


def test_a_good_page_is_counted(tmp_path: Path) -> None:
    page = tmp_path / "good.md"
    page.write_text(GOOD)
    answer = run_page(page, tmp_path)
    assert (answer.stdout, answer.stderr) == ("3 examples\n", "")


@pytest.mark.parametrize(
    "block",
    [
        "```python\n1 + 1  # -> 3\n```",
        "```python\nint('1')  # raises ValueError\n```",
        "```python\nint('x')  # raises TypeError\n```",
        "```python\nnothing_of_this_name\n```",
        "```python\nimport warnings\nwarnings.warn('x')\n```",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ echo one; exit 1\none\n```",
        "<!-- until: the page ends -->\n```console\n$ false\n```\n```python\nimport time\n```",
    ],
)
def test_a_page_that_says_something_false_is_caught(block: str, tmp_path: Path) -> None:
    page = tmp_path / "false.md"
    page.write_text(block + "\n")
    answer = run_page(page, tmp_path)
    assert answer.returncode != 0
    assert "Wrong: false.md" in answer.stderr
