"""Changed Python files are noticed, with and without the system's help."""

import os
import threading
from pathlib import Path

import pytest

from treadle.worker.reload import Watch

PATIENCE = 60.0


@pytest.mark.parametrize("by_notice", [True, False])
def test_a_changed_an_added_and_a_removed_file_are_noticed_and_others_are_not(tmp_path: Path, by_notice: bool):
    (tmp_path / "package").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / ".hidden").mkdir()
    file, gone = tmp_path / "package" / "tasks.py", tmp_path / "gone.py"
    file.write_text("a = 1\n", encoding="utf-8")
    gone.write_text("", encoding="utf-8")
    seen: set[str] = set()
    enough = threading.Event()

    def changed(paths: list[str]) -> None:
        seen.update(os.path.relpath(path, tmp_path) for path in paths)
        if len(seen) >= 3:
            enough.set()

    with Watch(tmp_path, changed, by_notice=by_notice):
        (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
        (tmp_path / "__pycache__" / "tasks.py").write_text("x", encoding="utf-8")
        (tmp_path / ".hidden" / "tasks.py").write_text("x", encoding="utf-8")
        file.write_text("a = 22\n", encoding="utf-8")
        (tmp_path / "added.py").write_text("", encoding="utf-8")
        gone.unlink()
        assert enough.wait(PATIENCE)
    assert seen == {"package/tasks.py", "added.py", "gone.py"}
