"""Finds models: the built-in models, and those in the operator's folder of model folders."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from beholder.errors import ConfigError, ModelInvalid
from beholder.job.reference import reference_of, split_reference
from beholder.model.folder import is_model_name, read_model
from beholder.model.port import ModelSpec

__all__ = ["BUILTIN_MODEL", "ModelEntry", "ModelRegistry", "is_folder_version"]

BUILTIN_MODEL = "efficientnet-lite0"
_FOLDER_VERSION = re.compile(r"[\w.+-]{1,50}", re.ASCII)
_BUILTIN_FOLDER = Path(__file__).parent / "builtin"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model folder as it was found.

    Args:
        name: From `model.toml`; if that cannot be used, the folder's own name.
        folder: Its path.
        is_builtin: Whether it came with the package.
        spec: What it says; None if it cannot be used.
        problems: Why it cannot be used, each a sentence that says what to do.
    """

    name: str
    folder: Path
    is_builtin: bool
    spec: ModelSpec | None
    problems: tuple[str, ...] = ()

    def is_called(self, text: str) -> bool:
        """Return whether a text is its name, or its name with its version."""
        return text == self.name or (self.spec is not None and text == self.spec.reference)


class ModelRegistry:
    """Finds models by name or by folder, and reads the folders anew each time.

    Args:
        models_folder: Its sub-folders are the operator's models; it need not exist.
    """

    def __init__(self, models_folder: Path | None = None) -> None:
        self._models_folder = models_folder

    def list_models(self) -> list[ModelEntry]:
        """Return every model folder, usable or not, the built-in folders first."""
        return list(self._entries())

    def find(self, name_or_path: str | Path) -> ModelSpec:
        """Return the model of this name, or the model in this folder.

        Args:
            name_or_path: A model's name, with an '@' and its version if the first folder of the name has
                another; or a folder: a path, or a text that cannot be a name ('./mine').

        Raises:
            ModelInvalid: The folder cannot be used.
            ConfigError: No model has this name.
        """
        if isinstance(name_or_path, Path) or _is_folder(name_or_path):
            return read_model(Path(name_or_path))
        names = []
        for entry in self._entries():
            if entry.is_called(name_or_path):
                if entry.spec is None:
                    raise ModelInvalid(entry.problems)
                return entry.spec
            names.append(entry.name)
        names = list(dict.fromkeys(names))
        where = f" and in {self._models_folder}" if self._models_folder else ""
        raise ConfigError(
            f"no model is named '{name_or_path}'{_meant(name_or_path, names)}; there is {', '.join(names)} "
            f"(built in{where}); for a folder write its path, such as ./{name_or_path or 'mine'}"
        )

    def folder_for(self, name: str, version: str) -> Path:
        """Return the folder of a new model: called by its name or, beside another version, by its reference.

        Raises:
            ConfigError: There is no folder of models; or the version cannot name a folder and has to.
        """
        if self._models_folder is None:
            raise ConfigError("there is no folder of models; give one with --data-dir")
        entries = [entry for entry in self._entries() if entry.name == name]
        for entry in entries:
            if entry.spec is None or entry.spec.version == version:
                return entry.folder
        if entries and not is_folder_version(version):
            raise ConfigError(
                f"the version '{version}' cannot be a part of a folder's name, which a second version needs; "
                "use letters, digits, '.', '_', '+' and '-'"
            )
        return self._models_folder / (reference_of(name, version) if entries else name)

    def remove(self, name: str) -> Path:
        """Remove an imported model, and return the folder that it had.

        Args:
            name: The model's, with its version or without, or that of its folder if the folder cannot be
                used; not a path.

        Raises:
            ConfigError: It is built in, no model has this name, or its folder cannot be removed.
        """
        known = self.list_models()
        entries = [entry for entry in known if entry.is_called(name)]
        if any(entry.is_builtin for entry in entries):
            raise ConfigError(f"'{name}' is built in and cannot be removed; serve another by --model")
        if not entries:
            meant = _meant(name, [entry.name for entry in known if not entry.is_builtin])
            raise ConfigError(
                f"no imported model is named '{name}'{meant}; `beholder models list` shows them"
            )
        if len(entries) > 1:
            folders = " and ".join(str(entry.folder) for entry in entries)
            raise ConfigError(f"{folders} are both called '{name}'; add an @ and the version")
        folder = entries[0].folder
        try:
            if folder.is_symlink():
                # The folder that the link points to belongs to another program.
                folder.unlink()
                return folder
            # Renamed first: a model is whole or not there, whatever ends this process.
            hidden = Path(tempfile.mkdtemp(prefix=".removed-", dir=folder.parent))
            folder.rename(hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise ConfigError(f"{folder} cannot be removed ({error.strerror}); make it writable") from error
        return folder

    def _entries(self) -> Iterator[ModelEntry]:
        """Read one folder after the other, so that a search reads no weights beyond its find."""
        seen: dict[str, Path] = {}
        for folder, is_builtin in self._folders():
            entry = _read_entry(folder, is_builtin=is_builtin)
            spec = entry.spec
            if spec is not None and spec.reference in seen:
                first = f"{seen[spec.reference]} already has the name '{spec.name}' and the version"
                problem = f"{folder}: {first} '{spec.version}'; give it another"
                entry = ModelEntry(folder.name, folder, is_builtin, None, (problem,))
            elif spec is not None:
                seen[spec.reference] = folder
            yield entry

    def _folders(self) -> Iterator[tuple[Path, bool]]:
        for parent, is_builtin in ((_BUILTIN_FOLDER, True), (self._models_folder, False)):
            if parent is None or not parent.is_dir():
                continue
            for folder in sorted(parent.iterdir()):
                # A hidden folder is an unfinished import, or another tool's.
                if folder.is_dir() and not folder.name.startswith((".", "_")):
                    yield folder, is_builtin


def is_folder_version(version: str) -> bool:
    """Say whether a version may be a part of a folder's name, behind the model's and an '@'."""
    return _FOLDER_VERSION.fullmatch(version) is not None


def _is_folder(text: str) -> bool:
    """Say whether a text means a folder; a misspelt name ('Mine') does not."""
    # os.path returns False for a text that is too long for a path.
    is_name = is_model_name(split_reference(text)[0])
    return "/" in text or (not is_name and os.path.isdir(text))  # noqa: PTH112


def _meant(name: str, names: Sequence[str]) -> str:
    """Return a hint at the nearest of the names."""
    found = get_close_matches(name.lower(), names, 1)
    return f" (did you mean '{found[0]}'?)" if found else ""


def _read_entry(folder: Path, *, is_builtin: bool) -> ModelEntry:
    try:
        spec = read_model(folder)
    except ModelInvalid as error:
        return ModelEntry(folder.name, folder, is_builtin, None, tuple(error.problems))
    return ModelEntry(spec.name, folder, is_builtin, spec)
