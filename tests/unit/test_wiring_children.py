"""The processes that `beholder up` starts."""

import subprocess
from pathlib import Path

from beholder.config import load_settings
from beholder.wiring.children import children


def test_a_file_of_the_working_folder_is_no_module_of_a_child(tmp_path: Path) -> None:
    # given
    (tmp_path / "click.py").write_text("raise SystemExit('not the module')", encoding="utf-8")
    settings = load_settings({}, {}).settings
    web, worker_of = children(settings, socket_fd=3, parent_death_pipe_fd=4, ready_fd=5, in_fleet=False)
    program = web.command[: web.command.index("beholder") + 1]
    # when
    done = subprocess.run([*program, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    # then
    assert (done.returncode, done.stderr) == (0, "")
    assert worker_of(0).command[: len(program)] == program
