"""Print the newest Python on this machine that beholder supports and that is newer than the one that asks.

Looks for `python3.X` on PATH and among the versions of pyenv; exit status 1 where there is none.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path


def supported() -> list[int]:
    """Return the minor versions that pyproject.toml names, the newest first."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    classifiers = tomllib.loads(text)["project"]["classifiers"]
    found = (re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", one) for one in classifiers)
    return sorted((int(one[1]) for one in found if one), reverse=True)


def candidates(minor: int) -> Iterator[str]:
    """Yield every place where this version may be."""
    if on_path := shutil.which(f"python3.{minor}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from (str(one / "bin" / "python3") for one in sorted(pyenv.glob(f"versions/3.{minor}.*")))


def works(python: str, minor: int) -> bool:
    """Say whether it starts, is that version, and can make a virtual environment."""
    check = f"import ensurepip, sqlite3, ssl, sys, venv; sys.exit(sys.version_info[:2] != (3, {minor}))"
    try:
        done = subprocess.run([python, "-c", check], capture_output=True, check=False)  # noqa: S603 -- ours
    except OSError:
        return False
    return done.returncode == 0


def main() -> int:
    """Print the path."""
    for minor in supported():
        if minor <= sys.version_info.minor:
            break
        for python in candidates(minor):
            if works(python, minor):
                print(python)
                return 0
    print("no newer Python that beholder supports is on this machine", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
