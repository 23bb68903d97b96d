"""An environment for each queue, as its requirements file pins it. What cannot be had is left out, with the reason."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"
PLACE = ROOT / "build" / "rivals"
PATIENCE = 600.0

NEWER = {"oban": (3, 12)}
"""Queues that want a newer Python than treadle does."""


class Unavailable(Exception):
    """This queue cannot be installed here; the text says why."""


@dataclass(frozen=True)
class Environment:
    """What runs the adapters of one queue."""

    program: tuple[str, ...]
    """The command that an adapter's name is put behind: an interpreter."""
    home: Path
    node: bool = False


def own() -> Environment:
    """treadle's: the interpreter that runs this."""
    return Environment((sys.executable,), Path(sys.prefix))


def ready(name: str) -> Environment:
    """Install a queue unless that has been done, and return how to run it. Raises `Unavailable`."""
    if (REQUIREMENTS / name).is_dir():
        return _with_npm(name)
    return _with_pip(name)


def _stamp(home: Path, *sources: Path) -> Path:
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    return home / f".installed-{digest}"


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, check=False, timeout=PATIENCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise Unavailable(f"{' '.join(map(str, command[:4]))} ... failed: {' / '.join(lines[-3:])}")


def _with_pip(name: str) -> Environment:
    wanted = REQUIREMENTS / f"{name}.txt"
    home = PLACE / name
    stamp = _stamp(home, wanted) if home.exists() else None
    if stamp is None or not stamp.exists():
        python = _python(NEWER.get(name, (3, 11)))
        shutil.rmtree(home, ignore_errors=True)
        _run(python, "-m", "venv", home)
        _run(home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted)
        _stamp(home, wanted).touch()
    return Environment((str(home / "bin" / "python"),), home)


def _python(at_least: tuple[int, int]) -> str:
    """An interpreter of at least this version: this one if it will do."""
    if sys.version_info[:2] >= at_least:
        return sys.executable
    versions = [f"python3.{minor}" for minor in range(at_least[1], at_least[1] + 4)]
    places = [shutil.which(version) for version in versions]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if pyenv.is_dir():
        places += [str(found / "bin" / "python") for found in sorted(pyenv.iterdir())]
    probe = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < {at_least})"
    for place in filter(None, places):
        if subprocess.run([place, "-c", probe], check=False, capture_output=True, timeout=60).returncode == 0:
            return place
    raise Unavailable(f"it needs Python {at_least[0]}.{at_least[1]} or newer, and none was found here")


def _with_npm(name: str) -> Environment:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable("it needs Node and npm, and they were not found here")
    sources = [REQUIREMENTS / name / file for file in ("package.json", "package-lock.json")]
    home = PLACE / name
    home.mkdir(parents=True, exist_ok=True)
    stamp = _stamp(home, *sources)
    if not stamp.exists():
        for source in sources:
            shutil.copy(source, home)
        # Not `npm ci`: it refuses a lock without the optional builds for systems that a registry may not carry.
        _run(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=home)
        stamp.touch()
    return Environment((node,), home, node=True)
