"""The independent count: a plain loop over `ast.parse` that knows nothing of jobs. Run as a program of its own.

Reads a JSON list of paths from standard input and writes those that the parser refuses to standard output.
"""

import ast
import json
import sys
import warnings
from pathlib import Path


def refused(paths: list[str]) -> list[str]:
    """The paths, in order, that cannot be read or parsed."""
    found: list[str] = []
    for path in paths:
        try:
            ast.parse(Path(path).read_bytes())
        except Exception:  # noqa: BLE001  whatever makes the parser refuse counts, known to us or not
            found.append(path)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    json.dump(refused(json.load(sys.stdin)), sys.stdout)
