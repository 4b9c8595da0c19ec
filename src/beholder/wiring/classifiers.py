"""The classifiers of the models that the settings name."""

import logging
from functools import partial

from beholder.config import Settings
from beholder.config.models import find_spec
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.pool import ClassifierPool
from beholder.model.port import Classifier, ModelSpec
from beholder.model.unloaded import UnloadedClassifier
from beholder.results.attempts import attempt
from beholder.telemetry.log import log_event

__all__ = ["load_classifier", "warm_classifiers"]

_log = logging.getLogger(__name__)

# Each shape of a batch is compiled and warmed up; larger batches gain nothing on a CPU.
_SHAPE_MAX = 10


def load_classifier(spec: ModelSpec, settings: Settings, *, threads: int = 1) -> Classifier:
    """Return a classifier for a model, ready to warm up."""
    precision = None if settings.worker.precision == "auto" else settings.worker.precision
    return OpenVinoClassifier(
        spec, precision=precision, threads=threads, batch_max=min(settings.worker.batch_max, _SHAPE_MAX)
    )


def warm_classifiers(settings: Settings) -> dict[str, Classifier]:
    """Return a ready classifier for every model served, by the model's name.

    Where a model beside the default cannot be loaded, its classifier refuses every image, so that its jobs
    are handed back for a worker that has the model, and are given up in the end.
    """
    classifiers: dict[str, Classifier] = {}
    for name in settings.worker.model:
        found = attempt(partial(_warm_classifier, settings), name)
        if not isinstance(found, Exception):
            classifiers[found.spec.name] = found
            continue
        if not classifiers:
            raise found
        log_event(
            _log, logging.ERROR, "worker.model_unloaded", f"{type(found).__name__}: {found}", model=name
        )
        classifiers[name] = UnloadedClassifier(found)
    return classifiers


def _warm_classifier(settings: Settings, name: str) -> Classifier:
    """Return a ready classifier for a model; it has as many copies of it as consumers can compute at once."""
    spec = find_spec(settings, name)
    count = min(settings.worker.consumers, settings.machine.workers) or 1
    one = load_classifier(spec, settings)
    if settings.worker.consumers > 1:
        one = ClassifierPool([one, *(load_classifier(spec, settings) for _ in range(count - 1))])
    one.warm_up()
    return one
