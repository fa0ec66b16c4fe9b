"""A deadline ends what waits for a socket at its time, once, and never what comes after it."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from export_pipeline.deadline import Deadline
from export_pipeline_tests.servers import wait_for

NEVER = 3600.0

Ends = tuple[socket.socket, socket.socket]

FORKED = """
import os, socket
from export_pipeline.deadline import Deadline
here, there = socket.socketpair()
waiting = Deadline(here, 3600)
if os.fork() == 0:
    ours, other = socket.socketpair()
    ending = Deadline(ours, 0.05)
    os._exit(0 if ours.recv(1) == b"" and ending.passed else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection."""
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(60)
        yield here, there


def test_who_waits_is_woken_though_other_deadlines_are_later_and_earlier(ends: Ends) -> None:
    later = [Deadline(ends[1], NEVER) for _ in range(3)]
    deadline = Deadline(ends[0], 0.05)
    assert ends[0].recv(1) == b""
    assert deadline.passed
    assert [each.passed for each in later] == [False] * 3


@pytest.mark.parametrize("how", ["cancelled", "extended"])
def test_a_deadline_that_was_cancelled_or_extended_does_not_pass_at_its_first_time(how: str, ends: Ends) -> None:
    deadline = Deadline(ends[0], 0.05)
    if how == "extended":
        deadline.extend(NEVER)
    else:
        deadline.cancel()
    with socket.socket() as other:
        after = Deadline(other, 0.1)
        wait_for(lambda: after.passed, what="a deadline that ends later")
    ends[1].sendall(b"x")
    assert ends[0].recv(1) == b"x"
    assert not deadline.passed


def test_a_shorter_time_takes_the_place_of_a_longer_one(ends: Ends) -> None:
    deadline = Deadline(ends[0], NEVER)
    deadline.extend(0.05)
    assert ends[0].recv(1) == b""
    assert deadline.passed


class Within:
    """A connection within another one, as urllib3 makes of TLS through a proxy's TLS: no socket itself."""

    def __init__(self, outer: socket.socket) -> None:
        self.socket = outer


def test_a_connection_within_another_one_is_ended_too(ends: Ends) -> None:
    deadline = Deadline(Within(ends[0]), 0.05)  # type: ignore[arg-type]  # urllib3 says it were one
    assert ends[0].recv(1) == b""
    assert deadline.passed


def test_one_that_cannot_be_shut_down_does_not_keep_later_ones_from_passing(ends: Ends) -> None:
    broken = Deadline("no socket", 0.01)  # type: ignore[arg-type]
    wait_for(lambda: broken.passed, what="the time of what is no socket")
    deadline = Deadline(ends[0], 0.05)
    assert ends[0].recv(1) == b""
    assert deadline.passed


def test_a_thousand_deadlines_need_one_thread(ends: Ends) -> None:
    Deadline(ends[0], NEVER).cancel()
    before = threading.active_count()
    kept = [Deadline(ends[0], NEVER) for _ in range(1_000)]
    assert threading.active_count() == before
    for each in kept:
        each.cancel()


def test_a_forked_process_has_deadlines_of_its_own() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)
