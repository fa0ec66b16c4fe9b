"""ClickHouse behind TLS: `clickhouses://` trusts what the machine trusts, or the authority that the URL names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.errors import SettingsError, SourceUnreachableError, SourceUnusableError
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.servers.tls import TlsFront, tls_front
from export_pipeline_tests.sources.stores import START, Store, rows_of, settings_for, uuid

pytestmark = pytest.mark.slow


@pytest.fixture
def front(clickhouse: ClickhouseServer, tmp_path: Path) -> Iterator[TlsFront]:
    with tls_front(clickhouse.port, tmp_path) as front:
        yield front


@pytest.fixture
def filled(clickhouse_store: Store) -> Store:
    clickhouse_store.runs()
    clickhouse_store.add(1, START)
    return clickhouse_store


def url(front: TlsFront, store: Store, parameters: str = "", *, host: str = "127.0.0.1") -> str:
    return f"clickhouses://default:@{host}:{front.port}/{store.url.rpartition('/')[2]}{parameters}"


@pytest.mark.parametrize("parameters", ["?ca_cert={}", "?verify=false"])
def test_a_day_is_read_through_tls(front: TlsFront, filled: Store, parameters: str) -> None:
    source = open_source(settings_for(url(front, filled, parameters.format(front.authority))))
    assert [row["id"].decode() for row in rows_of(source)] == [uuid(1)]
    source.close()


def test_a_certificate_of_an_unknown_authority_is_not_trusted(front: TlsFront, filled: Store) -> None:
    with pytest.raises(SourceUnusableError, match=r"certificate is not trusted; .* with \?ca_cert=/path$"):
        open_source(settings_for(url(front, filled)))


def test_a_certificate_for_another_name_is_not_trusted(front: TlsFront, filled: Store) -> None:
    with pytest.raises(SourceUnusableError, match=r"certificate is not for localhost; name the server in the URL as"):
        open_source(settings_for(url(front, filled, f"?ca_cert={front.authority}", host="localhost")))


def test_a_certificate_that_has_expired_is_told(clickhouse: ClickhouseServer, filled: Store, tmp_path: Path) -> None:
    with (
        tls_front(clickhouse.port, tmp_path, days=-1) as front,
        pytest.raises(SourceUnusableError, match=r"the server's certificate has expired$"),
    ):
        open_source(settings_for(url(front, filled, f"?ca_cert={front.authority}")))


def test_a_file_of_an_authority_that_is_none_is_named(front: TlsFront, filled: Store, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path in (tmp_path / "missing.pem", empty):
        with pytest.raises(SettingsError, match=rf"ca_cert: {path} is no file of certificates"):
            open_source(settings_for(url(front, filled, f"?ca_cert={path}")))


def test_a_url_without_tls_does_not_reach_a_server_with_it(front: TlsFront, filled: Store) -> None:
    plain = url(front, filled).replace("clickhouses://", "clickhouse://")
    with pytest.raises(
        SourceUnreachableError, match=r"ClickHouse does not answer: .*; clickhouses:// is for servers with TLS"
    ):
        open_source(settings_for(plain))
