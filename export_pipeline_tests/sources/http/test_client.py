"""Requests keep to the budget, and who waits for it can be stopped."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from export_pipeline.errors import SourceSlowError
from export_pipeline.sources.http.budget import OwnBudget
from export_pipeline.sources.http.client import Access, Client, Stopped
from export_pipeline_tests.servers.http import Answer, HttpServer, http_server


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server(lambda asked: Answer(200, b"yes")) as made:
        yield made


def client_of(server: HttpServer, budget: OwnBudget, *, rate: float = 10_000, patience: float = 60.0) -> Client:
    access = Access("The API", headers={"X-Key": "secret"}, secrets=("secret",), advice="the key")
    return Client(server.url, access=access, patience=patience, budget=budget, rate=rate)


def ask(client: Client, **more: object) -> str:
    return client.ask("GET", "/", lambda text: text, **more)  # type: ignore[arg-type]


def test_requests_come_as_quickly_as_the_budget_allows(server: HttpServer) -> None:
    began = time.monotonic()
    with closing(client_of(server, OwnBudget(), rate=20)) as client:
        assert {ask(client) for _ in range(31)} == {"yes"}

    assert time.monotonic() - began >= (31 - 21) / 20
    assert len(server.asked) == 31


def test_who_has_no_time_for_its_turn_is_told_so(server: HttpServer) -> None:
    budget = OwnBudget()
    budget.pause(60)
    with closing(client_of(server, budget)) as client:
        with pytest.raises(SourceSlowError, match=r"The API is asked as often as its limit allows.*10000 requests"):
            ask(client, seconds=5)
        with pytest.raises(SourceSlowError, match="the last one that was refused for being too many"):
            ask(client_of(server, budget, patience=5))
    assert server.asked == []


def test_who_waits_for_a_turn_can_be_stopped(server: HttpServer) -> None:
    """Whether it is the one that asks the budget or one of those behind it."""
    budget, stop, stopped = OwnBudget(), threading.Event(), []
    budget.pause(3600)

    def wait(client: Client) -> None:
        try:
            ask(client, stop=stop, seconds=7200)
        except Stopped:
            stopped.append(True)

    with closing(client_of(server, budget)) as client:
        threads = [threading.Thread(target=wait, args=(client,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        stop.set()
        for thread in threads:
            thread.join()

    assert stopped == [True] * 3
    assert server.asked == []
