"""The names above a label of ImageNet in WordNet's hierarchy, such as dog and animal above Chihuahua.

`tools/make_wordnet_parents.py` made the data.
"""

import functools
import json
from importlib import resources

__all__ = ["IMAGENET_CLASSES", "parents_of"]

IMAGENET_CLASSES = 1000
"""How many classes a model of ImageNet has; another model may mean something else by the same label."""


def parents_of(label: str) -> list[str]:
    """Return the names above a label, the nearest first; empty for a label that is none of ImageNet's."""
    names, parents = _load()
    return [names[place] for place in parents.get(label, ())]


@functools.cache
def _load() -> tuple[list[str], dict[str, list[int]]]:
    """Read the data at the first use, since most services never need it."""
    data = resources.files("beholder.web.routes.compat") / "wordnet_parents.json"
    document = json.loads(data.read_text(encoding="utf-8"))
    return document["names"], document["parents"]
