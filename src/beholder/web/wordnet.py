"""The ids of ImageNet's labels in WordNet, and the names above them, such as dog and animal above Chihuahua.

`tools/make_wordnet_parents.py` made the data.
"""

import functools
import json
from importlib import resources

__all__ = ["IMAGENET_CLASSES", "label_of_id", "parents_of"]

IMAGENET_CLASSES = 1000
"""How many classes a model of ImageNet has; another model may mean something else by the same label."""


def parents_of(label: str) -> list[str]:
    """Return the names above a label, the nearest first; empty for a label that is none of ImageNet's."""
    names, parents, _ = _load()
    return [names[place] for place in parents.get(label, ())]


def label_of_id(wordnet_id: str) -> str | None:
    """Return the label of ImageNet that an id such as n02123045 names; None if none has it."""
    return _load()[2].get(wordnet_id)


@functools.cache
def _load() -> tuple[list[str], dict[str, list[int]], dict[str, str]]:
    """Read the data at the first use, since most services never need it."""
    data = resources.files("beholder.web") / "wordnet_parents.json"
    document = json.loads(data.read_text(encoding="utf-8"))
    parents = document["parents"]
    return document["names"], parents, dict(zip(document["ids"], parents, strict=True))
