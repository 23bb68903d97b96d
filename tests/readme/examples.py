"""Run the examples of one Markdown page, in order, in the current directory: `python examples.py PAGE`.

    ```python      is executed; `expression  # -> repr` and `call()  # raises Name` are checked, `await` may stand on top
    ```console     lines after `$ ` are run by the shell, which must succeed; `...` in what they print stands for anything

An HTML comment just above a block says more: `file: NAME` writes the block to a file instead, `until: the page ends` runs
its commands beside the rest of the page and wants them to end well when they are told to stop, and `shown only: REASON`
leaves it alone. On its own, `run: CODE` executes Python that the page need not show.
"""

import ast
import asyncio
import inspect
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE = 60.0
PIECE = re.compile(
    r"^<!-- (?P<word>[a-z ]+): (?P<text>.*?) ?-->$|^```(?P<lang>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
EXCHANGE = re.compile(r"((?:.*\\\n)*.*)\n?([\s\S]*)")
PROMISE = re.compile(r".*#\s*(?P<kind>->|raises)\s*(?P<said>.+?)\s*$")


class Wrong(Exception):
    """An example does not do what its page says."""


class Piece(NamedTuple):
    """A block or a directive, and the line at which its text begins. `lang` of a directive is its word."""

    lang: str
    code: str
    line: int
    above: tuple[str, str]


def pieces(page: str) -> Iterator[Piece]:
    """What a page asks to be done, in order; a directive that belongs to a block comes with the block."""
    above = ("", "")
    for found in PIECE.finditer(page):
        if found["word"] is None:
            yield Piece(found["lang"], found["code"], page.count("\n", 0, found.start("code")) + 1, above)
            above = ("", "")
        elif found["word"] in ("file", "until", "shown only"):
            above = (found["word"], found["text"])
        else:
            yield Piece(found["word"], found["text"], page.count("\n", 0, found.start("text")) + 1, ("", ""))


class Page:
    """One page being run: a namespace of its own, the processes it started, and a count of what was run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = types.ModuleType(path.stem.lower())
        sys.modules[self.module.__name__] = self.module
        self.started: list[subprocess.Popen[bytes]] = []
        self.done = 0

    def run(self) -> None:
        """Do everything the page asks for."""
        try:
            for piece in pieces(self.path.read_text()):
                self.do(piece)
                self.look_after()
        finally:
            for process in self.started:
                process.send_signal(signal.SIGTERM)
            exits = [process.wait(PATIENCE) for process in self.started]
        if any(exits):
            raise Wrong(f"{self.path.name}: background processes ended with {exits}")

    def look_after(self) -> None:
        """Fail at once when a background process has ended: what waits for it would only say so much later."""
        for process in self.started:
            if process.poll() is not None:
                raise Wrong(f"{self.path.name}: {process.args!r} ended with {process.returncode} before the page did")

    def do(self, piece: Piece) -> None:
        word, text = piece.above
        if word == "shown only":
            return
        if word == "file":
            Path(text).write_text(piece.code)
        elif word == "until":
            for command in re.findall(r"^\$ (.*)$", piece.code, re.MULTILINE):
                self.started.append(subprocess.Popen(f"exec {command}", shell=True, start_new_session=True))
        elif piece.lang in ("python", "run"):
            self.python(piece)
        elif piece.lang == "console":
            self.console(piece)
        else:
            return
        self.done += piece.lang != "run"

    def python(self, piece: Piece) -> None:
        tree = ast.increment_lineno(ast.parse(piece.code), piece.line - 1)
        lines = piece.code.splitlines()
        for statement in tree.body:
            promise = PROMISE.fullmatch(lines[(statement.end_lineno or 0) - piece.line])
            self.statement(statement, (promise["kind"], promise["said"]) if promise else ("", ""))

    def statement(self, statement: ast.stmt, promise: tuple[str, str]) -> None:
        kind, said = promise
        where = f"{self.path.name}:{statement.lineno}"
        try:
            value = self.value(statement)
        except Exception as error:
            if kind == "raises" and type(error).__name__ == said:
                return
            raise Wrong(f"{where}: {type(error).__name__}: {error}") from error
        if kind == "raises":
            raise Wrong(f"{where}: raises nothing, the page says {said}")
        if kind == "->" and repr(value) != said:
            raise Wrong(f"{where}: gives {value!r}, the page says {said}")

    def value(self, statement: ast.stmt) -> Any:
        """Execute a statement; the value of an expression, or of the name it assigns to."""
        kept: ast.stmt = statement
        if isinstance(statement, ast.Expr):
            kept = ast.copy_location(ast.Assign([ast.Name("_", ast.Store())], statement.value), statement)
        target = kept.targets[0] if isinstance(kept, ast.Assign) else None
        whole = ast.fix_missing_locations(ast.Module([kept], []))
        code = compile(whole, str(self.path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        answer = eval(code, self.module.__dict__)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(answer)
        return self.module.__dict__[target.id] if isinstance(target, ast.Name) else None

    def console(self, piece: Piece) -> None:
        for exchange in re.split(r"^\$ ", piece.code, flags=re.MULTILINE)[1:]:
            command, said = EXCHANGE.fullmatch(exchange).groups()  # type: ignore[union-attr]
            answer = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=PATIENCE, check=False)
            pattern = ".*".join(re.escape(part) for part in narrow(said).split("..."))
            if answer.returncode or not re.fullmatch(pattern, narrow(answer.stdout), re.DOTALL):
                printed = f"printed:\n{answer.stdout}{answer.stderr}\nthe page says:\n{said}"
                raise Wrong(f"{self.path.name}:{piece.line}: {command}\nended with {answer.returncode} and {printed}")


def narrow(text: str) -> str:
    """Text without what only aligns it: the width of a column depends on its longest entry."""
    return re.sub(r"[ \t]+", " ", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)).strip()


if __name__ == "__main__":
    os.environ.update(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", NO_COLOR="1", COLUMNS="100")
    os.environ["PYTHONPATH"] = str(Path.cwd())
    sys.path.insert(0, str(Path.cwd()))
    page = Page(Path(sys.argv[1]).resolve())
    page.run()
    print(f"{page.done} examples")
