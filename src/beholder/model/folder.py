"""The model folder: `model.toml` describes the graph in `model.onnx`, `labels.txt` names its classes.

All problems of a folder are reported at once, in sentences that say what to do. Nothing in a folder is
executed: an ONNX graph holds no code, and pickles are not read.
"""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

from beholder.errors import ModelInvalid
from beholder.model.external_data import has_external_data
from beholder.model.mapped_file import map_file
from beholder.model.port import EMBEDDING_SIZE_MAX, ModelSpec
from beholder.model.preprocessing_table import read_preprocessing

__all__ = [
    "FORMAT",
    "GRAPH_FILE",
    "KEYS",
    "LABELS_FILE",
    "MODEL_FILE",
    "NAME_RULE",
    "REPORT_FILE",
    "file_sha256",
    "is_model_name",
    "model_files",
    "read_graph",
    "read_model",
]

MODEL_FILE = "model.toml"
GRAPH_FILE = "model.onnx"
LABELS_FILE = "labels.txt"
# What an import measured; the service does not read it.
REPORT_FILE = "report.json"
# Counts changes of what a folder holds that an earlier beholder would misread.
FORMAT = 1
# Graphs of this size stay in their file while they are loaded.
_LARGE_BYTES = 64_000_000
_TEMPERATURES = (0.05, 20.0)
# What the graph gives; of the last two each class has a probability of its own.
_OUTPUTS = ("logits", "probabilities", "sigmoid-logits", "sigmoid")
_THRESHOLD = 0.5
_TEXT_KEYS = ("name", "version", "licence", "source", "sha256", "labels", "output")
KEYS = (
    "format",
    *_TEXT_KEYS,
    "labels_sha256",
    "temperature",
    "threshold",
    "embedding",
    "embedding_size",
    "preprocessing",
)
# A name becomes that of a folder, which may have 255 characters.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
NAME_RULE = (
    "begin with a lower-case letter or a digit and go on with lower-case letters, digits, '.', '_' and '-', "
    "100 characters at most"
)


def is_model_name(text: str) -> bool:
    """Say whether `text` may name a model, by `NAME_RULE`."""
    return _NAME.fullmatch(text) is not None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex; raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_graph(spec: ModelSpec) -> bytes | Path:
    """Return the bytes of `model.onnx`, which are those whose checksum was checked; its path if it is large.

    A graph that keeps its weights in other files is refused: the checksum does not cover them, and a runtime
    that reads the graph from memory would look for them in the current folder.

    Raises:
        ModelInvalid: The file is gone, has changed since the folder was read, or refers to other files.
    """
    path = spec.onnx_path
    try:
        is_large = path.stat().st_size >= _LARGE_BYTES
        graph = path if is_large else path.read_bytes()
        sha256 = file_sha256(graph) if isinstance(graph, Path) else hashlib.sha256(graph).hexdigest()
        content = map_file(graph) if isinstance(graph, Path) else memoryview(graph)
    except OSError as error:
        raise ModelInvalid(f"{path} cannot be read ({error.strerror}); restore it") from error
    if sha256 != spec.sha256:
        raise ModelInvalid(f"{path} has changed since its sha256 was checked; start again")
    if has_external_data(content):
        raise ModelInvalid(
            f"{path} keeps its weights in another file; import it by `beholder models import`, "
            "which takes them along"
        )
    return graph


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model folder that was read, which are all that belongs to it.

    Raises:
        OSError: The folder is gone.
    """
    table = tomllib.loads((folder / MODEL_FILE).read_text(encoding="utf-8-sig"))
    names = [MODEL_FILE, GRAPH_FILE, str(table.get("labels", LABELS_FILE)), REPORT_FILE]
    return [folder / name for name in names if (folder / name).is_file()]


def read_model(folder: Path) -> ModelSpec:
    """Read and check a model folder.

    The classifier, which reads the graph, checks the number of classes against the labels.

    Args:
        folder: Holds `model.toml`, `model.onnx` and the label file.

    Raises:
        ModelInvalid: The folder has problems; all are named.
    """
    problems: list[str] = []
    table = _read_table(folder, problems)
    if table is None:
        raise ModelInvalid(problems)
    texts = _read_texts(table, problems)
    temperature = _temperature(table.get("temperature", 1.0), problems)
    preprocessing = read_preprocessing(table.get("preprocessing"), problems)
    _check_graph(folder / GRAPH_FILE, texts.get("sha256"), problems)
    labels = _read_labels(folder, texts.get("labels", LABELS_FILE), problems, table.get("labels_sha256"))
    thresholds = _thresholds(table, len(labels), problems)
    embedding, embedding_size = _embedding(table, problems)
    if problems or preprocessing is None:
        raise ModelInvalid([f"{folder}: {problem}" for problem in problems])
    return ModelSpec(
        name=texts["name"],
        version=texts["version"],
        licence=texts["licence"],
        source=texts["source"],
        sha256=texts["sha256"].lower(),
        onnx_path=folder / GRAPH_FILE,
        labels=labels,
        outputs_probabilities=texts["output"] in ("probabilities", "sigmoid"),
        preprocessing=preprocessing,
        temperature=temperature,
        thresholds=thresholds,
        embedding=embedding,
        embedding_size=embedding_size,
    )


def _read_table(folder: Path, problems: list[str]) -> dict[str, Any] | None:
    path = folder / MODEL_FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problems.append(
            f"{folder}: {MODEL_FILE} is missing; a model folder holds {MODEL_FILE}, {GRAPH_FILE} and labels"
        )
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}); make it readable")
    except UnicodeDecodeError:
        problems.append(f"{path}: is not UTF-8 text; save it as UTF-8")
    # Lists a thousand deep raise a RecursionError; such a folder must not hide other folders.
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.append(f"{path}: is not valid TOML: {error}")
    return None


def _read_texts(table: dict[str, Any], problems: list[str]) -> dict[str, str]:
    """Return the texts by key; report missing, wrong and unknown keys."""
    if (form := table.get("format", FORMAT)) != FORMAT:
        problems.append(
            f"{MODEL_FILE} has the format {form!r}, this beholder reads format {FORMAT}; import the model "
            "anew, or upgrade beholder"
        )
    problems.extend(
        f"{MODEL_FILE} has the unknown key '{key}'; remove it (known keys: {', '.join(KEYS)})"
        for key in table
        if key not in KEYS
    )
    texts = {}
    for key in _TEXT_KEYS:
        value = table.get(key)
        if isinstance(value, str) and value.strip():
            texts[key] = value
        elif value is None:
            problems.append(f"{MODEL_FILE} lacks '{key}'; add it")
        else:
            problems.append(f"{MODEL_FILE}: '{key}' must be a text that is not empty, not {value!r}")
    name, output = texts.get("name"), texts.get("output")
    if name is not None and not is_model_name(name):
        problems.append(f"the name '{name}' cannot be used; {NAME_RULE}")
    if output is not None and output not in _OUTPUTS:
        known = ", ".join(f"'{one}'" for one in _OUTPUTS)
        problems.append(f"output = '{output}' is not known; write one of {known}")
    return texts


def _temperature(value: Any, problems: list[str]) -> float:
    low, high = _TEMPERATURES
    if type(value) in (int, float) and low <= value <= high:
        return float(value)
    problems.append(f"{MODEL_FILE}: temperature must be a number from {low} to {high}, not {value!r}")
    return 1.0


def _thresholds(table: dict[str, Any], classes: int, problems: list[str]) -> tuple[float, ...]:
    """Return the threshold of each class of a multi-label model; none for another model."""
    value = table.get("threshold")
    if not str(table.get("output")).startswith("sigmoid"):
        if value is not None:
            problems.append(
                f"{MODEL_FILE}: threshold is for the outputs sigmoid and sigmoid-logits; remove it"
            )
        return ()
    numbers = _THRESHOLD if value is None else value
    numbers = numbers if isinstance(numbers, list) else [numbers] * classes
    if any(type(one) not in (int, float) or not 0 <= one <= 1 for one in numbers):
        problems.append(f"{MODEL_FILE}: threshold must be of numbers from 0 to 1, not {value!r}")
    elif len(numbers) != classes:
        problems.append(
            f"{MODEL_FILE}: threshold has {len(numbers)} numbers for {classes} classes; write one number for "
            "all, or one for each"
        )
    return tuple(map(float, numbers)) if not problems else ()


def _embedding(table: dict[str, Any], problems: list[str]) -> tuple[str, int]:
    """Return the tensor that is the embedding, and how many values it has; of a model without one, none."""
    name, size = table.get("embedding"), table.get("embedding_size")
    if name is None and size is None:
        return "", 0
    if isinstance(name, str) and name and type(size) is int and 1 <= size <= EMBEDDING_SIZE_MAX:
        return name, size
    problems.append(
        f"{MODEL_FILE}: embedding must be the name of a tensor, and embedding_size the number of "
        f"its values, up to {EMBEDDING_SIZE_MAX}; write both, or none"
    )
    return "", 0


def _check_graph(path: Path, sha256: str | None, problems: list[str]) -> None:
    try:
        actual = file_sha256(path)
    except FileNotFoundError:
        problems.append(f"{path.name} is missing; put the ONNX graph there")
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({error.strerror}); make it readable")
    else:
        if sha256 is None:
            problems.append(
                f'the sha256 of {path.name} is "{actual}"; if you trust the file, write that down'
            )
        elif sha256.lower() != actual:
            problems.append(
                f"{path.name} has sha256 {actual}, {MODEL_FILE} says {sha256}; the file is damaged or "
                "not the right one: copy it again from a source that you trust"
            )


def _read_labels(folder: Path, file_name: str, problems: list[str], sha256: object) -> tuple[str, ...]:
    if Path(file_name).name != file_name or "\0" in file_name:
        problems.append(f"labels = '{file_name}' must be the name of a file inside the model folder")
        return ()
    try:
        content = (folder / file_name).read_bytes()
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        problems.append(f"{file_name} is missing; write one class name per line, by class number")
        return ()
    except OSError as error:
        problems.append(f"{file_name} cannot be read ({error.strerror}); make it readable")
        return ()
    except UnicodeDecodeError:
        problems.append(f"{file_name} is not UTF-8 text; save it as UTF-8")
        return ()
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and str(sha256).lower() != actual:
        problems.append(
            f"{file_name} has sha256 {actual}, {MODEL_FILE} says {sha256} as labels_sha256; if you changed "
            "the labels, write the new one down, else copy the file again"
        )
    labels = tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
    empty = [number for number, label in enumerate(labels, start=1) if not label]
    if empty:
        problems.append(f"{file_name} has no name on line {empty[0]}; write one class name on every line")
    return labels
