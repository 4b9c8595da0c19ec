"""The project's own files, read as text and as syntax trees, for tests that hold them to the house style."""

import ast
import builtins
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["ROOT", "SRC", "Module", "modules", "tracked_files"]

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "beholder"


@dataclass(frozen=True, eq=False)
class Module:
    """One file of Python.

    Args:
        path: Relative to `src/beholder`, or to the folder asked for.
        text: Its source.
        tree: The same, parsed.
    """

    path: str
    text: str
    tree: ast.Module

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    @functools.cached_property
    def imports(self) -> dict[str, str]:
        """Return what each name that an import binds stands for, with its module."""
        found = {}
        for node in self.nodes(ast.Import, ast.ImportFrom):
            if isinstance(node, ast.Import):
                found |= {alias.asname or alias.name: alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return found

    @functools.cached_property
    def uses(self) -> set[str]:
        """Return every imported name that is used, as its module knows it, and every built-in one.

        So `sleep` is `time.sleep` where it was imported from there, and `time.sleep` of an argument is not.
        """
        used = set(self.imports.values())
        for node in self.nodes(ast.Attribute, ast.Name):
            head, dot, rest = ast.unparse(node).partition(".")
            if head in self.imports:
                used.add(self.imports[head] + dot + rest)
            elif not dot and hasattr(builtins, head):
                used.add(head)
        return used


@functools.cache
def modules(folder: Path = SRC) -> tuple[Module, ...]:
    """Return every Python file below a folder."""
    paths = sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
    assert paths
    return tuple(_read(path, folder) for path in paths)


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """Return every file that git tracks, relative to the root; skips outside of a checkout."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("this is no git checkout")
    return tuple(
        Path(name) for name in listing.stdout.decode().split("\0") if (ROOT / name).is_file() and name
    )


def _read(path: Path, folder: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    return Module(path.relative_to(folder).as_posix(), text, ast.parse(text))
