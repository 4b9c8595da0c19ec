"""Object keys: names made safe, and keys refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.store.keys import (
    check_key,
    check_prefix,
    image_key,
    image_prefix,
    is_drop_key,
    result_key,
    safe_file_name,
    upload_result_key,
)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("test_0.JPEG", "test_0.JPEG"),
        ("my cat (1).jpg", "my cat (1).jpg"),
        ("C:\\Users\\me\\cat.jpg", "cat.jpg"),
        ("../../etc/passwd", "passwd"),
        ("köln.jpg", "köln.jpg"),
        ("a%2Fb?.png", "a_2Fb_.png"),
        ("tab\there\n.png", "tab_here_.png"),
        ("..", "image"),
        ("", "image"),
        (".jpg", "jpg"),
        ("ü" * 300 + ".jpeg", "ü" * 87 + ".jpeg"),
        ("x" * 300, "x" * 180),
        ("x." + "y" * 300, "x." + "y" * 178),
    ],
)
def test_file_names_are_made_safe(sent: str, kept: str) -> None:
    assert safe_file_name(sent) == kept


@given(st.text(max_size=400))
def test_every_file_name_becomes_part_of_a_valid_key(sent: str) -> None:
    name = safe_file_name(sent)
    assert 1 <= len(name.encode()) < 200
    check_key(image_key("0198c0de", sent))
    check_prefix(image_prefix("0198c0de"))


@given(st.text(max_size=300))
def test_a_safe_name_stays_as_it_is(sent: str) -> None:
    assert safe_file_name(safe_file_name(sent)) == safe_file_name(sent)


def test_a_dropped_image_has_its_result_at_the_same_key() -> None:
    assert upload_result_key("drop/a/b.jpg") == "results/drop/a/b.jpg"


def test_only_what_lies_in_the_folder_was_dropped() -> None:
    keys = ["drop/a.jpg", "drop/", "drop", "dropped/a.jpg", "images/drop/a.jpg", "/drop/a.jpg"]
    assert [is_drop_key(key) for key in keys] == [True, True, False, False, False, False]


def test_no_job_of_the_api_has_the_result_key_of_an_upload() -> None:
    assert not result_key("0198c0de").startswith(upload_result_key("drop/"))
