"""The parent-death pipe: no process writes to it, and its end means that the parent is gone."""

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from beholder.fleet import ChildSpec, ParentDeathPipe, follow_parent
from beholder.fleet.process import start_child

END_S = 60.0
# The handler of a signal that arrives right before a wait runs after it.
LOOK_S = 0.05


@pytest.fixture
def asked() -> Iterator[threading.Event]:
    """Tell when this process was asked to end, instead of ending."""
    event = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        event.set()

    before = signal.signal(signal.SIGTERM, handle)
    yield event
    signal.signal(signal.SIGTERM, before)


def followers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "parent-death-pipe"]


def test_a_process_is_asked_to_end_once_its_parent_is_gone(asked: threading.Event) -> None:
    # given
    read_fd, write_fd = os.pipe()
    follow_parent(read_fd)
    os.write(write_fd, b"x")  # a byte is not the end
    (follower,) = followers()
    assert follower.daemon
    assert not asked.is_set()
    # when
    os.close(write_fd)
    # then
    assert any(asked.wait(LOOK_S) for _ in range(round(END_S / LOOK_S)))
    follower.join(END_S)
    os.close(read_fd)


def test_a_child_inherits_the_parent_death_pipe_and_nothing_of_the_terminal() -> None:
    # given: a child that reads its parent-death pipe
    with ParentDeathPipe() as parent_death_pipe:
        command = ("/bin/sh", "-c", f"read line </dev/fd/{parent_death_pipe.read_fd}; exit 7")
        child = start_child(ChildSpec("child", command, {}, (parent_death_pipe.read_fd,)))
        # then: a Ctrl-C, which the terminal sends to the parent's group, does not reach it
        assert os.getpgid(child.pid) == child.pid
        assert child.poll() is None
    # when: both ends are closed here, and the child has only the one to read
    assert child.wait(END_S) == 7


def test_a_child_has_the_environment_it_is_given_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHOLDER_PORT", "1")
    command = ("/bin/sh", "-c", '[ "$A" = b ] && [ -z "$BEHOLDER_PORT" ]')
    assert start_child(ChildSpec("child", command, {"A": "b"})).wait(END_S) == 0


def test_other_file_descriptors_stay_behind() -> None:
    with ParentDeathPipe() as parent_death_pipe:
        command = ("/bin/sh", "-c", f"test ! -e /dev/fd/{parent_death_pipe.read_fd}")
        assert start_child(ChildSpec("child", command, {})).wait(END_S) == 0


def test_a_parent_death_pipe_lets_go_of_its_pipe() -> None:
    with ParentDeathPipe() as parent_death_pipe:
        os.fstat(parent_death_pipe.read_fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(parent_death_pipe.read_fd)
