"""The models served, as one request sees them: which of them it names, and which classes its filters name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from beholder.errors import BadParameter, LabelUnknown, ModelNotFound, ModelVersionNotFound
from beholder.job.reference import split_reference
from beholder.web.labels import LabelIndex
from beholder.web.ports import ServedModel

__all__ = ["ServedModels", "read_label_list"]

_SHOWN_CHARS_MAX = 50


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The models served.

    Args:
        models: At least one; the first is the default.
        labels: The labels of each, by its reference.
    """

    models: tuple[ServedModel, ...]
    labels: Mapping[str, LabelIndex] = field(default_factory=dict)

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """Return the model that a request names; without a version, the default or the first of this name.

        Raises:
            ModelNotFound: No model of this name is served.
            ModelVersionNotFound: The model is served in other versions.
        """
        found = [one for one in self.models if one.name == name]
        if not found:
            known = ", ".join(dict.fromkeys(one.name for one in self.models))
            raise ModelNotFound(f"no model is named {name[:_SHOWN_CHARS_MAX]!r}; served here: {known}")
        served = next((one for one in found if version in (None, one.version)), None)
        if served is None:
            known = ", ".join(repr(one.version) for one in found)
            shown = (version or "")[:_SHOWN_CHARS_MAX]
            raise ModelVersionNotFound(f"{name} is served in version {known}, not in {shown!r}")
        return served

    def chosen(self, asked: str | None) -> ServedModel:
        """Return the model for a request: the one that its `model` names, or the default.

        Raises:
            ModelNotFound: No model of this name is served.
            ModelVersionNotFound: The model is served in other versions.
        """
        return self.models[0] if asked is None else self.find(*split_reference(asked))

    def knows(self, written: str) -> bool:
        """Return whether a text names a label of the default model."""
        return bool(self._index_of(self.models[0]).find(written))

    def classes_of(
        self, served: ServedModel, written: Sequence[str], parameter: str, count_max: int
    ) -> tuple[int, ...]:
        """Return the numbers of the classes that the entries of a filter name, ascending.

        Args:
            served: The model whose classes they are.
            written: The entries: names, class numbers or WordNet ids.
            parameter: What the request calls the filter.
            count_max: Classes at most.

        Raises:
            LabelUnknown: The model has no such class.
            BadParameter: The entries name more classes.
        """
        index = self._index_of(served)
        numbers: set[int] = set()
        for one in written:
            found = index.find(one)
            if not found:
                raise LabelUnknown(
                    f"{parameter} has {one[:_SHOWN_CHARS_MAX]!r}, which is no label of {served.name}; give a "
                    "label's name, class number or WordNet id"
                )
            numbers.update(found)
            if len(numbers) > count_max:
                raise BadParameter(f"{parameter} names more than {count_max} classes; name fewer")
        return tuple(sorted(numbers))

    def _index_of(self, served: ServedModel) -> LabelIndex:
        return self.labels.get(served.reference) or LabelIndex(())


def read_label_list(text: str, parameter: str) -> list[str]:
    """Return the entries of a filter: a list in JSON, or texts with commas between them.

    Args:
        text: As the request has it.
        parameter: What the request calls the filter.

    Raises:
        BadParameter: An entry is empty, or the list is none of texts and numbers.
    """
    entries: object = text.split(",")
    if text.lstrip().startswith("["):
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise BadParameter(f"{parameter} begins like a list in JSON and is none") from exc
    if not isinstance(entries, list) or not all(type(one) in {str, int} for one in entries):
        raise BadParameter(f"{parameter} is no list of labels; send their names, numbers or WordNet ids")
    written = [str(one).strip() for one in entries]
    if not all(written):
        raise BadParameter(f"{parameter} has an empty entry; leave it out")
    return written
