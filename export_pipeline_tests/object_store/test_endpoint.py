"""Which endpoints are refused, when they are named, resolved and connected to."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from export_pipeline.addresses import why_blocked
from export_pipeline.errors import DestinationRefusedError, DestinationUnavailableError
from export_pipeline.object_store import endpoint as endpoint_module
from export_pipeline.object_store.config import SETTING_NAMES, Credentials, DestinationConfig
from export_pipeline.object_store.endpoint import Endpoint, check_addresses, parse_endpoint
from export_pipeline.object_store.s3.client import make_client
from export_pipeline.object_store.s3.store import S3Store

CREDENTIALS = Credentials("key", "secret")


def config(url: str | None, *, private: bool = False) -> DestinationConfig:
    return DestinationConfig(bucket="bucket", endpoint_url=url, allow_private=private, names=SETTING_NAMES)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://s3.example.com", Endpoint("https", "s3.example.com", 443)),
        ("https://s3.example.com/", Endpoint("https", "s3.example.com", 443)),
        ("https://S3.example.com:9000", Endpoint("https", "s3.example.com", 9000)),
        ("https://[2001:db8::1]:9000", Endpoint("https", "2001:db8::1", 9000)),
    ],
)
def test_plain_addresses_are_accepted(url: str, expected: Endpoint) -> None:
    assert parse_endpoint(config(url)) == expected


def test_aws_itself_has_no_endpoint_to_check() -> None:
    assert parse_endpoint(config(None)) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://s3.example.com", "must begin with https"),
        ("ftp://s3.example.com", "must look like"),
        ("s3.example.com", "must look like"),
        ("//s3.example.com", "must look like"),
        ("https://", "must look like"),
        ("https://user:hunter2@s3.example.com", "user name"),
        ("https://@s3.example.com", "user name"),
        ("https://s3.example.com/bucket", "no path"),
        ("https://s3.example.com?x=1", "no path"),
        ("https://s3.example.com?", "no path"),
        ("https://s3.example.com#x", "no path"),
        ("https://s3.example.com:99999", "cannot be read"),
        ("https://s3.example.com:x", "cannot be read"),
        ("https://[::1", "cannot be read"),
        ("https://s3.example.com\r\nHost: x", "control characters"),
        ("https://s3.example .com", "spaces"),
        ("https://s3.example.com\\@internal", "backslashes"),
        ("file:///etc/passwd", "must look like"),
    ],
)
def test_other_urls_are_refused_by_the_settings_name_and_without_their_password(url: str, reason: str) -> None:
    with pytest.raises(DestinationRefusedError, match=reason) as caught:
        parse_endpoint(config(url))
    assert caught.value.error_class == "Invalid endpoint"
    assert str(caught.value).startswith("EXPORT_PIPELINE_ENDPOINT_URL")
    assert "hunter2" not in str(caught.value)


PUBLIC = ["8.8.8.8", "2600::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
PRIVATE = ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1"]
PRIVATE += ["::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "198.18.0.1", "240.0.0.1"]
NEVER = ["169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "::", "224.0.0.1"]
PRIVATE += ["192.0.0.8", "fec0::1", "192.88.99.1", "::10.0.0.1", "2600::5efe:a00:1", "192.0.2.1", "3fff::1", "5f00::1"]
NEVER += ["168.63.129.16", "::ffff:168.63.129.16", "192.0.0.192", "::169.254.169.254", "2600::200:5efe:a9fe:a9fe"]
NEVER += ["fd20:ce::254"]
NEVER += ["ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "64:ff9b:1::1", "2001::1"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open_to_https_alone(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert why_blocked(found, "https", allow_private=False) is None
    assert why_blocked(found, "https", allow_private=True) is None
    assert "needs https" in str(why_blocked(found, "http", allow_private=True))


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_the_setting(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert "not allowed here" in str(why_blocked(found, "https", allow_private=False))
    assert why_blocked(found, "https", allow_private=True) is None
    assert why_blocked(found, "http", allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_metadata_and_the_like_are_never_reached(address: str) -> None:
    found = ipaddress.ip_address(address)
    for private in (False, True):
        assert why_blocked(found, "https", allow_private=private) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_every_way_to_write_loopback_is_refused(host: str) -> None:
    with pytest.raises(DestinationRefusedError, match="not allowed here"):
        make_client(config(f"https://{host}:9000"), CREDENTIALS)


def test_one_forbidden_address_among_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [resolved("8.8.8.8"), resolved("10.0.0.1")])
    given = config("https://s3.example.com")
    with pytest.raises(DestinationRefusedError, match=r"10\.0\.0\.1"):
        check_addresses(given, Endpoint("https", "s3.example.com", 443))


@pytest.mark.parametrize("leads_to", [None, "10.0.0.1", "127.0.0.1", "169.254.169.254", "fd00::1", "192.0.0.8"])
def test_a_stored_destination_does_not_tell_which_names_there_are_inside(
    leads_to: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        if leads_to is None:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [resolved(leads_to)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    stored = DestinationConfig(bucket="b", endpoint_url="https://db.internal")
    with pytest.raises(DestinationUnavailableError) as caught:
        make_client(stored, CREDENTIALS)
    assert str(caught.value) == "The host 'db.internal' of the destination's endpoint_url has no public address."
    assert (caught.value.error_class, caught.value.code) == ("Invalid endpoint", None)


def test_a_proxy_that_the_environment_names_is_not_a_stored_destination_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [resolved("8.8.8.8")])
    stored = DestinationConfig(bucket="b", endpoint_url="https://s3.example.com")
    for config, proxy in ((stored, None), (replace(stored, use_proxy=True), "http://127.0.0.1:1")):
        session = make_client(config, CREDENTIALS)._endpoint.http_session
        assert session._proxy_config.proxy_url_for("https://s3.example.com/b") == proxy


def test_a_name_without_an_address_may_get_one_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DestinationUnavailableError, match=r"'s3\.example\.com'.*no known address") as caught:
        make_client(config("https://s3.example.com"), CREDENTIALS)
    assert caught.value.error_class == "Invalid endpoint"


def resolved(address: str, port: int = 443) -> tuple[object, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


class Listener:
    """Takes connections on loopback and keeps what was sent."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.received: list[bytes] = []
        self.connected = threading.Event()
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            self.connected.set()
            while data := connection.recv(4096):
                self.received.append(data)

    def close(self) -> None:
        self._thread.join(60)
        self.socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_name_that_resolves_differently_later_is_noticed_before_a_byte_is_sent(
    scheme: str, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # First the name leads where it may (public, or for http private); later, when connecting, to this machine.
    answers = iter(["8.8.8.8"] if scheme == "https" else ["10.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [resolved(next(answers, "127.0.0.1"), listener.port)])
    given = config(f"{scheme}://s3.example.com:{listener.port}", private=scheme == "http")
    store = S3Store(given, CREDENTIALS, patience=0)
    if scheme == "http":  # loopback is as private as 10.0.0.1: only a public or metadata peer would be refused
        monkeypatch.setattr(endpoint_module, "why_blocked", lambda *_, **__: "an address that is refused in this test")
    with pytest.raises(DestinationRefusedError, match=r"s3\.example\.com leads to 127\.0\.0\.1") as caught:
        store.put("k", b"x")
    assert caught.value.error_class == "Invalid endpoint"
    store.close()
    assert listener.connected.wait(60)
    listener.close()
    assert listener.received == []
