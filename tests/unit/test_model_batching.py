"""A batch is cut into runs of one shape and one compiled size, with every image once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.model.batching import batch_sizes, plan_runs

SMALL, LARGE = (8, 8, 3), (16, 8, 3)


@pytest.mark.parametrize(
    ("precision", "batch_max", "sizes"),
    [("fp32", 8, (1,)), ("bf16", 8, (1, 4)), ("bf16", 4, (1, 4)), ("bf16", 3, (1,)), ("bf16", 1, (1,))],
)
def test_sizes_by_precision(precision: str, batch_max: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(precision, batch_max) == sizes


def test_the_largest_size_that_fits_comes_first() -> None:
    assert plan_runs([SMALL] * 7, (1, 2, 4)) == [[0, 1, 2, 3], [4, 5], [6]]
    assert plan_runs([SMALL] * 9, (1, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_images_of_one_shape_run_together() -> None:
    assert plan_runs([SMALL, LARGE, SMALL, LARGE, SMALL], (1, 2)) == [[0, 2], [4], [1, 3]]


def test_no_images_are_no_runs() -> None:
    assert plan_runs([], (1, 4)) == []


@given(
    shapes=st.lists(st.sampled_from([SMALL, LARGE, (4, 4, 3)]), max_size=40),
    sizes=st.sets(st.integers(1, 9)).map(lambda sizes: tuple(sorted(sizes | {1}))),
)
def test_every_image_runs_once_in_a_compiled_size(
    shapes: list[tuple[int, ...]], sizes: tuple[int, ...]
) -> None:
    runs = plan_runs(shapes, sizes)

    assert sorted(position for run in runs for position in run) == list(range(len(shapes)))
    assert all(len(run) in sizes for run in runs)
    assert all(len({shapes[position] for position in run}) == 1 for run in runs)
