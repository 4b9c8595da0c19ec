"""Makes a model folder of a model that the user has, in one of the forms that `sources` reads.

The new folder is read back and loaded once before it is kept.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from beholder.errors import JobError, ModelInvalid
from beholder.model.folder import (
    FORMAT,
    GRAPH_FILE,
    LABELS_FILE,
    MODEL_FILE,
    file_sha256,
    read_model,
)
from beholder.model.graph import Graph
from beholder.model.heap import release_free_memory
from beholder.model.mapped_file import few_pages_resident
from beholder.model.new_folder import check_name, new_model_folder
from beholder.model.port import EMBEDDING_SIZE_MAX, Classifier, ModelSpec
from beholder.model.preprocessing_table import TORCHVISION, write_preprocessing
from beholder.model.sources.find import read_source
from beholder.model.sources.source import Description, Source, output_of
from beholder.model.sources.understood import understood
from beholder.model.trial import find_output, find_preprocessing, find_smallest, trial_images, try_batches
from beholder.model.verification import Photos, Report, compare, verify, warm_up_timed, write_report

__all__ = ["describe", "import_model"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def import_model(
    path: Path,
    destination: Path,
    description: Description,
    *,
    load: Callable[[ModelSpec], Classifier],
    tell: Callable[[str], object],
    photos: Photos | None = None,
) -> ModelSpec:
    """Make a model folder of what the user has.

    Args:
        path: A model in one of the forms that `sources.find` knows.
        destination: The folder to make; its parents are made too.
        description: What the user says of it.
        load: Returns a classifier, to try the new model before it is kept.
        tell: Receives what was understood, line by line, before anything is written, and then what was
            measured.
        photos: To check the model on.

    Raises:
        ConfigError: The name cannot be used, the destination exists or cannot be written, a file cannot be
            read, a package is not installed, or an option is needed; the message names it.
        ModelInvalid: The model cannot be used, or contradicts `description`.
    """
    check_name(description.name, destination)
    source = read_source(path, description)
    with new_model_folder(destination) as folder:
        with (folder / GRAPH_FILE).open("wb") as file:
            file.writelines(source.graph)
        # From here on the graph is read from the new file, and a large one should not be in memory twice.
        source = replace(source, graph=[])
        release_free_memory()
        try:
            with few_pages_resident(folder / GRAPH_FILE):
                settled, reference = _understand(source, folder / GRAPH_FILE, tell)
                release_free_memory()
                describe(folder, settled, source.labels)
                report = _try(folder, reference, settled, load, photos)
        except ModelInvalid as error:
            problems = [_told(problem, folder, destination, source) for problem in error.problems]
            raise ModelInvalid(problems) from error
        write_report(folder, report)
    for line in report.lines:
        tell(line)
    return read_model(destination)


def _understand(source: Source, onnx: Path, tell: Callable[[str], object]) -> tuple[Description, int]:
    """Run the graph of a model; return its complete description, and a side that it runs."""
    said = source.description
    graph = Graph(onnx, str(source.file), embedding=said.embedding)
    _check_embedding(graph)
    is_multi_label = bool(said.thresholds)
    graph.check_labels(len(source.labels), source.labels_from, is_multi_label=is_multi_label)
    preprocessing = find_preprocessing(graph, said.preprocessing, said.size)
    settled = replace(
        said,
        embedding_size=graph.embedding_size,
        preprocessing=preprocessing,
        outputs_probabilities=find_output(
            graph, preprocessing, declared=said.outputs_probabilities, is_multi_label=is_multi_label
        ),
    )
    for line in understood(source, graph, settled):
        tell(line)
    return settled, graph.reference


def _check_embedding(graph: Graph) -> None:
    if graph.embedding_size > EMBEDDING_SIZE_MAX:
        raise ModelInvalid(
            f"{graph.where}: the tensor '{graph.embedding}' has {graph.embedding_size} values; one has "
            f"{EMBEDDING_SIZE_MAX} at most, name a pooled layer"
        )


def describe(folder: Path, description: Description, labels: Sequence[str]) -> None:
    """Write the labels and `model.toml` beside a graph; raises OSError if they cannot be written."""
    (folder / LABELS_FILE).write_text("\n".join(labels) + "\n", encoding="utf-8")
    (folder / MODEL_FILE).write_text(_toml(description, folder), encoding="utf-8")


def _try(
    folder: Path,
    reference: int,
    description: Description,
    load: Callable[[ModelSpec], Classifier],
    photos: Photos | None,
) -> Report:
    """Run the new model and return what was measured; if it takes any size, write down the smallest."""
    spec = read_model(folder)
    classifier = load(spec)
    load_s = warm_up_timed(classifier)
    preprocessing = spec.preprocessing
    side = preprocessing.size or reference
    try:
        try_batches(classifier, side, str(spec.onnx_path))
        report = verify(spec, classifier, side, load_s=load_s, photos=photos)
        found = classifier.classify(trial_images(side, side))
    except JobError as error:
        raise ModelInvalid(f"{spec.onnx_path}: {error.message}") from error
    if preprocessing.size is None:
        height_min, width_min = find_smallest(classifier, reference)
        preprocessing = replace(preprocessing, height_min=height_min, width_min=width_min)
        text = _toml(replace(description, preprocessing=preprocessing), folder)
        (folder / MODEL_FILE).write_text(text, encoding="utf-8")
    # Both runtimes at once would hold the weights twice.
    del classifier
    release_free_memory()
    return replace(report, agreement=compare(spec, side, found))


def _told(problem: str, folder: Path, destination: Path, source: Source) -> str:
    """Name the user's own files in a message instead of their copies in a folder that is gone."""
    labels = source.labels_from
    for ours, theirs in (
        (f"{folder}: {LABELS_FILE}", labels),
        (f"{folder}: {GRAPH_FILE}", str(source.file)),
        (str(folder / GRAPH_FILE), str(source.file)),
        (str(folder), str(destination)),
    ):
        problem = problem.replace(ours, theirs)
    return problem


def _toml(description: Description, folder: Path) -> str:
    texts = {
        "name": description.name,
        "version": description.version,
        "licence": description.licence,
        "source": description.source,
        "sha256": file_sha256(folder / GRAPH_FILE),
        "labels": LABELS_FILE,
        "labels_sha256": file_sha256(folder / LABELS_FILE),
        "output": output_of(description),
    }
    head = "\n".join(f"{key} = {_quoted(value)}" for key, value in texts.items())
    first, *more = description.thresholds or (None,)
    if first is not None:
        head += f"\nthreshold = {[first, *more] if more else first}"
    if description.embedding:
        head += f"\nembedding = {_quoted(description.embedding)}"
        head += f"\nembedding_size = {description.embedding_size}"
    return f"format = {FORMAT}\n{head}\n\n{write_preprocessing(description.preprocessing or TORCHVISION)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", escaped) + '"'
