"""The runs of a query, to be read interval by interval, and their attachments, fetched where somebody takes them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from typing_extensions import override

from export_pipeline.backoff import Backoff
from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.http import client
from export_pipeline.sources.http.files import BrokenFileError, FileLimits, RefusedFileError, fetched
from export_pipeline.sources.http.reading import Listing
from export_pipeline.sources.http.rows import Row, RowPage
from export_pipeline.sources.langsmith.api import LangSmithApi, Query
from export_pipeline.sources.langsmith.rows import AttachedRow, Attachment, named, with_attachments
from export_pipeline.sources.protocol import AttachmentSink

_AT_ONCE = 4
"""Attachments that are fetched at once."""


class Runs(Listing):
    """The runs of a query."""

    def __init__(self, api: LangSmithApi, query: Query, files: FileLimits) -> None:
        """`files`: which attachments are fetched, where any are."""
        self._api, self._query, self._files = api, query, files
        self._sink: AttachmentSink | None = None
        self.service, self.project = api.service, query.project
        self.page_rows, self.stop = api.page_rows, query.stop

    @override
    def page(self, window: Window, cursor: str | None, rows: int) -> RowPage:
        return self._api.page(self._query, window, cursor, rows)

    @override
    def count(self, window: Window) -> int:
        return self._api.stats(self._query, window.start, window.end).rows

    @override
    def keep_attachments(self, sink: AttachmentSink) -> bool:
        self._sink, self._query = sink, replace(self._query, with_addresses=True)
        return True

    @override
    def completed(self, rows: list[Row]) -> list[Row]:
        """The rows with what came of their attachments: fetched now, while their addresses hold."""
        sink = self._sink
        if sink is None:
            return rows
        attached = [(row, each) for row in rows if isinstance(row, AttachedRow) for each in row.attachments]
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="attachment")
        try:
            entries = pool.map(lambda each: self._entry(each[0], each[1], sink), attached)
            return [_with_entries(row, entries) for row in rows]
        except BaseException:
            self.stop.set()  # the others are not fetched to their end
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _entry(self, row: AttachedRow, attachment: Attachment, sink: AttachmentSink) -> dict[str, Any]:
        """What `extra` says of an attachment, once its bytes are kept or are certainly not to be had.

        An address that is refused may only have ended: it is asked for once more.
        """
        backoff = Backoff(self._api.patience, first=client.FIRST_PAUSE, longest=30.0, stop=self.stop)
        address, is_new = attachment.address, False
        while True:
            try:
                return self._kept(attachment, address, sink)
            except RefusedFileError as error:
                if is_new:
                    sink.miss()
                    return {**named(attachment), "missing": str(error)}
                now = {each.name: each.address for each in self._api.attachments(self._query, row)}
                address, is_new = now.get(attachment.name), True
            except BrokenFileError as error:
                if not backoff.wait():
                    self._go_on()
                    raise SourceUnreachableError(
                        f"an attachment of the run {row.id} of project {self.project} cannot be fetched: {error}"
                    ) from None

    def _kept(self, attachment: Attachment, address: str | None, sink: AttachmentSink) -> dict[str, Any]:
        if address is None:
            raise RefusedFileError("the API gives no address of it")
        # Some servers give the path alone, on their own host.
        whole = address if "://" in address else f"{self._api.address}/{address.lstrip('/')}"
        with fetched(whole, self._files, stop=self.stop) as file:
            kept = sink.keep(file.pieces)
        kind = attachment.mime_type or file.mime_type
        told = named(replace(attachment, mime_type=kind))
        return {**told, "key": kept.key, "sha256": kept.sha256, "size": kept.size}

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise client.Stopped


def _with_entries(row: Row, entries: Iterator[dict[str, Any]]) -> Row:
    if not isinstance(row, AttachedRow):
        return row
    return with_attachments(row, [next(entries) for _ in row.attachments])
