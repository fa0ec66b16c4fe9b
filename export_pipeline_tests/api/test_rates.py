"""How often a key and an address may ask, and that nobody uses up what is another's."""

from dataclasses import dataclass
from typing import Any

import pytest

from export_pipeline.api import rates as limits
from export_pipeline.api.rates import Buckets, Rates, network_of
from export_pipeline.errors import ControlUnreachableError, LimitError
from export_pipeline.exports.access.keys import create_key, revoke_key
from export_pipeline_tests.api.house import TENANT, House

EXPORTS = "/api/v1/bulk-exports"


@dataclass
class Clock:
    """A time that stands until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def _refused_at(ask: Any, *, most: int) -> tuple[int, int]:
    """How many calls passed before one was refused, and after how many seconds to ask again."""
    for passed in range(most):
        try:
            ask()
        except LimitError as error:
            return passed, error.retry_after
    raise AssertionError(f"{most} calls were not refused")


def test_a_bucket_gives_its_burst_at_once_and_then_as_much_as_flows_in() -> None:
    clock = Clock()
    buckets = Buckets(rate=2, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert buckets.take("b") == 0
    clock.now += 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    clock.now += 1_000_000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_of_many_names_the_one_that_was_silent_longest_is_forgotten() -> None:
    buckets = Buckets(rate=1, burst=1, most=3, clock=Clock())
    for name in ("a", "b", "c", "a", "d"):
        buckets.take(name)
    assert (len(buckets), [name in buckets for name in "abcd"]) == (3, [True, False, True, True])
    for number in range(10_000):
        buckets.take(str(number))
    assert len(buckets) == 3


@pytest.mark.parametrize(
    ("host", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("a socket", "unknown"),
    ],
)
def test_addresses_of_one_holder_count_as_one(host: str, counted_as: str) -> None:
    assert network_of(host) == counted_as


def test_an_address_may_ask_four_times_as_often_as_a_key() -> None:
    clock = Clock()
    rates = Rates(5, clock)
    assert _refused_at(lambda: rates.request("192.0.2.7"), most=1000) == (200, 1)
    rates.request("192.0.2.8")
    clock.now += 1
    assert _refused_at(lambda: rates.request("192.0.2.7"), most=1000) == (20, 1)


def test_a_key_has_its_limit_wherever_it_is_used() -> None:
    rates = Rates(5, Clock())
    hosts = iter(f"192.0.2.{number}" for number in range(256))

    def ask() -> None:
        host = next(hosts)
        rates.attempt(host, "mine")
        rates.valid(host, "mine")

    assert _refused_at(ask, most=200) == (50, 1)
    rates.attempt("192.0.2.1", "another")


def test_wrong_keys_of_an_address_are_slowed_and_a_valid_key_is_not() -> None:
    clock = Clock()
    rates = Rates(100, clock)
    guesses = iter(str(number) for number in range(1000))

    def guess(host: str) -> None:
        key = next(guesses)
        rates.attempt(host, key)
        rates.invalid(key)

    rates.attempt("192.0.2.7", "mine")
    rates.valid("192.0.2.7", "mine")
    assert _refused_at(lambda: guess("192.0.2.7"), most=100) == (30, 2)
    rates.attempt("192.0.2.7", "mine")
    rates.attempt("192.0.2.8", "never seen")
    clock.now += 4
    assert _refused_at(lambda: guess("192.0.2.7"), most=100) == (2, 2)


def test_a_key_that_is_no_longer_valid_is_one_of_the_wrong_ones() -> None:
    rates = Rates(100, Clock())
    rates.attempt("192.0.2.7", "mine")
    rates.valid("192.0.2.7", "mine")

    def ask() -> None:
        rates.attempt("192.0.2.7", "mine")
        rates.invalid("mine")

    assert _refused_at(ask, most=100) == (31, 2)


@pytest.fixture
def two_at_once(monkeypatch: pytest.MonkeyPatch) -> float:
    """A rate that lets two requests of a key pass, and none more while a test runs."""
    monkeypatch.setattr(limits, "_BURST_SECONDS", 100_000)
    return 0.000_02


@pytest.mark.slow
def test_beyond_the_limit_of_a_key_the_answer_is_429_before_the_body_is_read(house: House, two_at_once: float) -> None:
    client = house.client(api_rate=two_at_once)
    assert [client.get(EXPORTS).status_code for _ in range(3)] == [200, 200, 429]
    broken = client.post(EXPORTS, content=b"x" * 2_000_000, headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()) == (
        429,
        {"detail": f"Too many requests with this API key; try again in {broken.headers['Retry-After']} seconds."},
    )
    assert 0 < int(broken.headers["Retry-After"]) <= 50_000


@pytest.mark.slow
def test_an_address_has_its_limit_on_every_path_but_liveness(house: House, two_at_once: float) -> None:
    client = house.anonymous(api_rate=two_at_once)
    answers = [
        client.get(path)
        for path in ("/docs", "/none", "/openapi.json", EXPORTS, *("/none",) * 4, "/ready", "/metrics", "/docs")
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 401, *(404,) * 4, 429, 429, 429]
    assert answers[-1].json()["detail"].startswith("Too many requests from this address; try again in ")
    assert [client.get("/health").status_code for _ in range(20)] == [200] * 20


@pytest.mark.slow
def test_wrong_keys_are_answered_429_without_asking_the_database(
    any_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_TRIES", 3)
    monkeypatch.setattr(limits, "_TRIES_A_SECOND", 0.001)
    gone, text = create_key(any_house.control, name="gone", tenant_id=TENANT, actor="test")
    revoke_key(any_house.control, gone.id, actor="test")
    client, good = any_house.anonymous(), {"X-API-Key": any_house.key()}
    assert client.get(EXPORTS, headers=good).status_code == 200
    wrong = [client.get(EXPORTS, headers={"X-API-Key": key}).status_code for key in ("a", "b", text, text, "a", "c")]
    assert wrong == [401, 401, 401, 429, 429, 429]
    assert client.get(EXPORTS).status_code == 401  # without a key nothing is tried
    assert client.get(EXPORTS, headers=good).status_code == 200

    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("the database is asked")

    monkeypatch.setattr("export_pipeline.api.guard.authenticate", asked)
    unknown, revoked = (client.get(EXPORTS, headers={"X-API-Key": key}) for key in ("d", text))
    assert (unknown.status_code, unknown.json()) == (revoked.status_code, revoked.json())
    assert unknown.status_code == 429


@pytest.mark.slow
def test_a_database_that_is_away_uses_up_no_tries(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_TRIES", 2)
    client = house.client()

    def away(*_: Any, **__: Any) -> Any:
        raise ControlUnreachableError("away")

    with monkeypatch.context() as patch:
        patch.setattr("export_pipeline.api.guard.authenticate", away)
        assert [client.get(EXPORTS).status_code for _ in range(5)] == [503] * 5
    assert client.get(EXPORTS).status_code == 200
