"""The labels of an answer: best first, ties by class number, nothing below the threshold."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from beholder.job import Label
from beholder.model.top import top_labels

NAMES = tuple("abcdef")
PROBABILITIES = np.array([0.1, 0.3, 0.05, 0.3, 0.2, 0.05], np.float32)


def indices(probabilities: NDArray[np.float32], **options: Any) -> list[int]:
    return [label.index for label in top_labels(probabilities, NAMES, **options)]


def test_best_come_first_and_ties_by_class_number() -> None:
    assert indices(PROBABILITIES, top_k=6, min_confidence=0.0) == [1, 3, 4, 0, 2, 5]


def test_a_tie_at_the_last_place_goes_to_the_lower_class_number() -> None:
    assert indices(PROBABILITIES, top_k=1, min_confidence=0.0) == [1]
    assert indices(PROBABILITIES, top_k=5, min_confidence=0.0) == [1, 3, 4, 0, 2]
    assert indices(np.full(6, 1 / 6, np.float32), top_k=3, min_confidence=0.0) == [0, 1, 2]


def test_labels_below_the_threshold_are_left_out() -> None:
    assert indices(PROBABILITIES, top_k=6, min_confidence=0.15) == [1, 3, 4]
    assert indices(PROBABILITIES, top_k=6, min_confidence=0.9) == []
    assert indices(np.array([1, 0, 0, 0, 0, 0], np.float32), top_k=6, min_confidence=1.0) == [0]


@pytest.mark.parametrize(("top_k", "count"), [(0, 0), (3, 3), (6, 6), (100, 6)])
def test_no_more_labels_than_asked_or_there_are(top_k: int, count: int) -> None:
    assert len(top_labels(PROBABILITIES, NAMES, top_k=top_k, min_confidence=0.0)) == count


def test_confidences_are_plain_numbers_of_six_digits() -> None:
    (label,) = top_labels(np.array([1 / 3, 0.2], np.float32), NAMES, top_k=1, min_confidence=0.0)

    assert label == Label("a", 0, 0.333333)
    assert type(label.confidence) is float
    assert type(label.index) is int


def test_agrees_with_a_full_sort_on_random_probabilities() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        probabilities = random.integers(0, 5, 40).astype(np.float32) / 10
        expected = np.argsort(-probabilities, kind="stable")[:7].tolist()
        found = top_labels(probabilities, [str(i) for i in range(40)], top_k=7, min_confidence=0.0)
        assert [label.index for label in found] == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"include": (4, 0)}, [4, 0]),
        ({"include": (3, 1)}, [1, 3]),
        ({"exclude": (1, 3)}, [4, 0, 2, 5]),
        ({"include": (0, 1, 4), "exclude": (1,)}, [4, 0]),
        ({"include": (1,), "exclude": (1,)}, []),
        ({"exclude": range(6)}, []),
    ],
)
def test_filters_come_before_the_count_and_change_no_confidence(
    filters: dict[str, Any], expected: list[int]
) -> None:
    assert indices(PROBABILITIES, top_k=6, min_confidence=0.0, **filters) == expected
    assert indices(PROBABILITIES, top_k=1, min_confidence=0.0, **filters) == expected[:1]
    labels = top_labels(PROBABILITIES, NAMES, top_k=6, min_confidence=0.0, **filters)
    assert all(one.confidence == round(float(PROBABILITIES[one.index]), 6) for one in labels)
    assert all(one.name == NAMES[one.index] for one in labels)
