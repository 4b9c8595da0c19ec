"""The socket at which a web process receives replies."""

import stat
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from beholder.errors import BackendUnavailable
from beholder.queue.reply_socket import ReplySender, ReplySocket

NAME = "result-queue-web-0"


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """Return a folder whose path is longer than a socket's address may be."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    return folder


def test_replies_arrive_whole_and_in_order(deep: Path) -> None:
    sender = ReplySender(deep, NAME)
    with closing(ReplySocket(deep, NAME)) as socket:
        assert socket.receive() == []
        bodies = [b"a" * 200_500, b"", b"b"]
        sender.send(bodies)
        assert socket.receive() == bodies
        assert socket.receive() == []


def test_only_the_owner_of_the_service_may_send(deep: Path) -> None:
    with closing(ReplySocket(deep, NAME)):
        (path,) = deep.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_successor_replaces_the_socket_of_a_process_that_was_killed(deep: Path) -> None:
    sender = ReplySender(deep, NAME)
    with closing(ReplySocket(deep, NAME)) as dead, closing(ReplySocket(deep, NAME)) as socket:
        sender.send([b"a"])
        assert socket.receive() == [b"a"]
        assert dead.receive() == []


def test_a_process_that_is_gone_refuses_and_its_successor_does_not(deep: Path) -> None:
    sender = ReplySender(deep, NAME)
    with pytest.raises(BackendUnavailable, match=NAME):
        sender.send([b"a"])
    with closing(ReplySocket(deep, NAME)) as socket:
        sender.send([b"b"])
        assert socket.receive() == [b"b"]
    with pytest.raises(BackendUnavailable, match=NAME):
        sender.send([b"c"])


def test_a_process_that_does_not_read_holds_up_a_sender_for_a_bounded_time(deep: Path) -> None:
    sender = ReplySender(deep, NAME, send_s_max=0.01)
    with closing(ReplySocket(deep, NAME)), pytest.raises(BackendUnavailable, match="not read"):
        sender.send([b"a"] * 10_000)


def test_a_process_that_hangs_costs_its_time_once_and_not_for_each_reply(deep: Path) -> None:
    sender = ReplySender(deep, NAME, send_s_max=0.2)
    with closing(ReplySocket(deep, NAME)) as socket:
        refused, began_s = 0, time.monotonic()
        for number in range(2000):
            try:
                sender.send([b"%d" % number])
            except BackendUnavailable:
                refused += 1
        assert refused > 100
        assert time.monotonic() - began_s < refused * 0.2 / 2
        # Once it reads again, it gets what comes then, and is worth a wait again.
        assert len(socket.receive()) == 2000 - refused
        for number in range(100):
            sender.send([b"%d" % number])
            assert socket.receive() == [b"%d" % number]
        assert sender._left_s == 0.2


def test_a_sender_that_waits_goes_on_as_soon_as_there_is_room(deep: Path) -> None:
    sender = ReplySender(deep, NAME, send_s_max=30)
    with closing(ReplySocket(deep, NAME)) as socket:
        bodies = [b"%d" % number for number in range(1000)]
        thread = threading.Thread(target=sender.send, args=(bodies,))
        thread.start()
        found: list[bytes] = []
        while len(found) < len(bodies):
            found += socket.receive()
        thread.join(30)
        assert found == bodies


@pytest.mark.parametrize("name", ["../web-0", "a/b", "", "a" * 81])
def test_a_name_that_came_in_a_message_leads_nowhere_else(deep: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        ReplySender(deep, name)
