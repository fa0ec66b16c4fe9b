"""ClickHouse over HTTP: small queries, streams whose end is proven, and cancels; errors by what to do."""

import logging
import threading
from collections.abc import Generator
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from export_pipeline.database_url import shown
from export_pipeline.errors import ExportPipelineError, SettingsError, SourceUnusableError
from export_pipeline.settings import PREFIX
from export_pipeline.sources.clickhouse.arrow_stream import BrokenStreamError, stream_batches
from export_pipeline.sources.clickhouse.errors import CONSTRAINED, ClickhouseErrors, RefusedByServerError
from export_pipeline.sources.clickhouse.server_settings import CUT_SHORT, FAIL_EARLY, MUST_BE, changeable, chosen
from export_pipeline.sources.clickhouse.tls import distrust, has_tls, hint, trust_of

_PORTS = {"http": 8123, "https": 8443}
_CONNECT_SECONDS = 10
_EMPTY_VERSION = "Unexpected response to server version query: ''"
_PARAMETERS = ("ca_cert", "verify")
"""What the URL may say beside the place: a file of certificates to trust, or `verify=false`."""


class Clickhouse:
    """One trace store; `url` is a SQLAlchemy URL, `seconds` how long any answer is waited for."""

    def __init__(self, url: Any, *, seconds: float) -> None:
        if unknown := sorted(url.query.keys() - set(_PARAMETERS)):
            raise SettingsError(
                f"{PREFIX}SOURCE_URL: {unknown[0]} is not a parameter of a ClickHouse URL; known are "
                f"{' and '.join(_PARAMETERS)}"
            )
        self._url, self._seconds = url, seconds
        self.place = shown(url)
        secrets = {text for text in (url.password, unquote(str(url.password or ""))) if text}
        self.errors = ClickhouseErrors(place=self.place, secrets=secrets)
        self._lock = threading.Lock()
        self._client: Any = None
        self._settings: dict[str, str] = {}
        self._early: dict[str, str] = {}

    @property
    def database(self) -> str:
        """The database that tables without one are looked for in."""
        return self._url.database or "default"

    def connect(self) -> None:
        """Makes sure that the server answers, and agrees on the settings; once."""
        with self._lock:
            if self._client is None:
                client = self._connected()
                try:
                    self._settings, self._early = self._agreed(client)
                except BaseException:
                    client.close()
                    raise
                self._client = client

    def _connected(self) -> Any:
        import clickhouse_connect
        from clickhouse_connect.driver.httputil import get_pool_manager

        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what it warns of is raised too
        interface, trust = "https" if has_tls(self._url) else "http", trust_of(self._url)
        try:
            return clickhouse_connect.get_client(
                interface=interface,
                host=self._url.host or "localhost",
                port=self._url.port or _PORTS[interface],
                username=self._url.username or "default",
                password=str(self._url.password or ""),
                database=self.database,
                compress=False,
                query_limit=0,
                query_retries=0,
                connect_timeout=_CONNECT_SECONDS,
                send_receive_timeout=int(self._seconds) + 60,
                autogenerate_session_id=False,
                client_name="export-pipeline",
                pool_mgr=get_pool_manager(maxsize=16, retries=False, **trust),
            )
        except Exception as error:  # noqa: BLE001 - the driver raises its own errors, urllib3's and OSError
            raise self._failed(error, connecting=True) from None

    def _agreed(self, client: Any) -> tuple[dict[str, str], dict[str, str]]:
        """The settings to send, and those for what is to fail early: without what a profile's constraints refuse."""
        sent = chosen(client.server_settings, version=client.server_version, place=self.place, seconds=self._seconds)
        early = changeable(client.server_settings, FAIL_EARLY)
        while True:
            try:
                self._rows(client, "SELECT 1", {**sent, **early})
            except RefusedByServerError as error:
                refused = next((name for name in (*sent, *early) if name in str(error)), None)
                if error.code != CONSTRAINED or refused is None or refused in MUST_BE:
                    raise
                (sent if refused in sent else early).pop(refused)
            else:
                return sent, early

    def _failed(self, error: Exception, *, connecting: bool = False) -> ExportPipelineError:
        if isinstance(error, ExportPipelineError):
            return error
        code = getattr(error, "code", None)
        words = str(error)
        if isinstance(code, int) and "Code: " not in words:
            words = f"Code: {code}. DB::Exception: {words}"
        if words.startswith(_EMPTY_VERSION):
            return SourceUnusableError(f"{PREFIX}SOURCE_URL ({self.place}): {CUT_SHORT}")
        if (reason := distrust(words, self._url)) is not None:
            return SourceUnusableError(f"{PREFIX}SOURCE_URL ({self.place}): {reason}")
        return self.errors.of_answer(words, connecting=connecting, hint=hint(words, self._url))

    def rows(self, sql: str, *, query_id: str) -> list[tuple[Any, ...]]:
        """The rows of a small query; text as bytes."""
        self.connect()
        return self._rows(self._client, sql, {**self._settings, "query_id": query_id})

    def _rows(self, client: Any, sql: str, settings: dict[str, str]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for batch in self._stream(client, sql, settings):
            columns = [_python_values(column) for column in batch.columns]
            rows += zip(*columns, strict=True)
        return rows

    def stream(self, sql: str, *, query_id: str, fails_early: bool) -> Generator[pa.RecordBatch]:
        """The batches of a query as they come; raises where they do not come to their end.

        `fails_early`: if on a value, then before the first batch, as far as the user may have that.
        """
        self.connect()
        early = self._early if fails_early else {}
        return self._stream(self._client, sql, {**self._settings, **early, "query_id": query_id})

    def _stream(self, client: Any, sql: str, settings: dict[str, str]) -> Generator[pa.RecordBatch]:
        response = None
        try:
            response = client.raw_stream(sql, settings=settings, fmt="ArrowStream")
            yield from stream_batches(response)
        except BrokenStreamError as error:
            told = error.tail.decode("utf-8", "replace")
            raise self.errors.of_answer(told if "Code: " in told else str(error)) from None
        except Exception as error:  # noqa: BLE001 - the driver raises its own errors, urllib3's and OSError
            raise self._failed(error) from None
        finally:
            if response is not None:
                response.close()

    def kill(self, query_id: str) -> None:
        """Asks the server to stop a query; safe from another thread, and where there is none."""
        if self._client is None:
            return
        try:
            self._rows(self._client, f"KILL QUERY WHERE query_id = '{query_id}' ASYNC", {})
        except ExportPipelineError:
            return  # the server is gone, and with it the query

    def close(self) -> None:
        """Gives the connections back."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def _python_values(column: pa.Array) -> list[Any]:
    if pa.types.is_string(column.type):
        column = column.view(pa.binary())
    return list(column.to_pylist())
