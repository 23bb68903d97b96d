"""How one source file is measured. Pure: bytes in, numbers out."""

import ast
import warnings
import zlib
from dataclasses import dataclass

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What one file measures.

    `complexity` is the cyclomatic complexity of the whole file (decisions + 1); `hardest` names the function with the
    largest complexity of its own, `hardest_score`, and is empty for a file without functions. Sizes are bytes.
    """

    file: str
    lines: int
    functions: int
    classes: int
    complexity: int
    hardest: str
    hardest_score: int
    size: int
    compressed: int


class Unparsable(Exception):
    """The file is not Python; the message says what the parser said, and where."""


def parse(source: bytes, file: str) -> ast.Module:
    """Parse bytes as Python decides: by byte-order mark, coding line, else UTF-8.

    Raises `Unparsable` for whatever makes the parser refuse: syntax, encoding, null bytes, too deep nesting.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old files carry invalid escapes; they still parse
        try:
            return ast.parse(source, filename=file)
        except SyntaxError as error:
            where = f", line {error.lineno}" if error.lineno else ""
            raise Unparsable(f"{type(error).__name__}: {error.msg}{where}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise Unparsable(f"{type(error).__name__}: {error}") from error


def decisions(node: ast.AST) -> int:
    """How many ways this one node adds to the paths through its function."""
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, _BRANCHES):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return 0


def measure(source: bytes, file: str) -> Measures:
    """Measure one file. Raises `Unparsable` when it is not Python."""
    scores = [1]
    names = [""]
    classes = 0
    # An explicit stack: a recursive visitor would refuse deeply nested files that the parser accepts.
    stack: list[tuple[ast.AST, int]] = [(parse(source, file), 0)]
    while stack:
        node, owner = stack.pop()
        if isinstance(node, _FUNCTIONS):
            owner = len(scores)
            scores.append(1)
            names.append(node.name)
        elif isinstance(node, ast.ClassDef):
            classes += 1
        scores[owner] += decisions(node)
        stack.extend((child, owner) for child in ast.iter_child_nodes(node))
    functions = len(scores) - 1
    hardest = max(range(1, functions + 1), key=lambda each: scores[each], default=0)
    return Measures(
        file=file,
        lines=source.count(b"\n") + (not source.endswith(b"\n") and source != b""),
        functions=functions,
        classes=classes,
        complexity=sum(scores) - functions,
        hardest=names[hardest],
        hardest_score=scores[hardest] if functions else 0,
        size=len(source),
        compressed=len(zlib.compress(source)),
    )
