"""The classifiers of the models that the settings name."""

import logging
from functools import partial

from beholder.config import Settings
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.pool import ClassifierPool
from beholder.model.port import Classifier, ModelSpec
from beholder.model.unloaded import UnloadedClassifier
from beholder.results.attempts import attempt
from beholder.telemetry.log import log_event
from beholder.wiring.models import find_spec

__all__ = ["load_classifier", "load_copies", "warm_classifiers", "warm_shadow"]

_log = logging.getLogger(__name__)

# Each shape of a batch is compiled and warmed up; larger batches gain nothing on a CPU.
_SHAPE_MAX = 10


def load_classifier(spec: ModelSpec, settings: Settings, *, threads: int = 1) -> Classifier:
    """Return a classifier for a model, ready to warm up."""
    precision = None if settings.worker.precision == "auto" else settings.worker.precision
    return OpenVinoClassifier(
        spec, precision=precision, threads=threads, batch_max=min(settings.worker.batch_max, _SHAPE_MAX)
    )


def load_copies(spec: ModelSpec, settings: Settings, count: int) -> Classifier:
    """Return a classifier that runs `count` images at the same time, ready to warm up."""
    return ClassifierPool([load_classifier(spec, settings) for _ in range(count)])


def warm_classifiers(settings: Settings) -> dict[str, Classifier]:
    """Return a ready classifier for every model served, by the model's reference.

    Where a model beside the default cannot be loaded, its classifier refuses every image, so that its jobs
    are handed back for a worker that has the model, and are given up in the end.
    """
    classifiers: dict[str, Classifier] = {}
    for name in settings.worker.model:
        found = attempt(partial(_warm_classifier, settings), name)
        if not isinstance(found, Exception):
            classifiers[found.spec.reference] = found
            continue
        if not classifiers:
            raise found
        log_event(
            _log, logging.ERROR, "worker.model_unloaded", f"{type(found).__name__}: {found}", model=name
        )
        classifiers[name] = UnloadedClassifier(found)
    return classifiers


def warm_shadow(settings: Settings) -> Classifier | None:
    """Return the ready classifier of the shadow model; None if there is none, or it cannot be loaded."""
    name = settings.worker.shadow
    if name is None or not settings.worker.shadow_share:
        return None

    def load(name: str) -> Classifier:
        classifier = load_classifier(find_spec(settings, name), settings)
        classifier.warm_up()
        return classifier

    found = attempt(load, name)
    if not isinstance(found, Exception):
        return found
    reason = f"{type(found).__name__}: {found}"
    log_event(_log, logging.ERROR, "worker.model_unloaded", reason, model=name)
    return None


def _warm_classifier(settings: Settings, name: str) -> Classifier:
    """Return a ready classifier for a model; it has as many copies of it as consumers can compute at once."""
    spec = find_spec(settings, name)
    count = min(settings.worker.consumers, settings.machine.workers) or 1
    found = (
        load_copies(spec, settings, count)
        if settings.worker.consumers > 1
        else load_classifier(spec, settings)
    )
    found.warm_up()
    return found
