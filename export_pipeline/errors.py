"""Errors, grouped by what to do next.

Every error that a person is meant to see is an `ExportPipelineError` whose text is one sentence or two: what is
wrong, the setting or value by name, and what to do. The three groups say whether trying again makes sense:

- `InputError`: something that was typed or configured is wrong; correct it.
- `PermanentError`: trying again changes nothing until something outside is mended (rights, a bucket, a schema).
- `RetryableError`: trying again later may succeed.

A cancel and a reached limit (`LimitError`) stand beside them.
"""

import re
import uuid

MOST_CHARACTERS = 2_000
"""Of an error, wherever it is stored or sent."""

_BLANK = re.compile(r"[\t-\r\x85\u2028\u2029]")
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def shortened(text: str) -> str:
    """A text that may quote others, on one line, of at most 2,000 characters, all of which a database takes."""
    cut = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
    return _NO_TEXT.sub("\ufffd", _BLANK.sub(" ", cut))


class ExportPipelineError(Exception):
    """Base of all errors that the product raises on purpose; `str(error)` is meant for people."""


class InputError(ExportPipelineError):
    """A value that was given is wrong; the text names it and says what is accepted."""


class PermanentError(ExportPipelineError):
    """Trying again fails in the same way until something outside is mended."""


class RetryableError(ExportPipelineError):
    """Trying again later may succeed."""


class SettingsError(InputError):
    """A setting is missing, unknown or not usable."""


class FilterError(InputError):
    """A filter cannot be read; `position` is the character, counted from 1, where it goes wrong."""

    def __init__(self, message: str, *, position: int) -> None:
        super().__init__(f"filter, character {position}: {message}")
        self.position = position


class NotFoundError(InputError):
    """What was named is not there, or belongs to another workspace; both read the same.

    `missing` is its id, where that may be one of another workspace.
    """

    def __init__(self, message: str, *, missing: uuid.UUID | None = None) -> None:
        super().__init__(message)
        self.missing = missing


class UnknownProjectError(NotFoundError):
    """A project that was named is not known."""


class ConflictError(InputError):
    """What was asked contradicts the state of the thing: a destination in use, an export that has ended."""


class LimitError(ExportPipelineError):
    """A limit is reached; `retry_after` is in how many seconds asking again makes sense."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SourceUnusableError(PermanentError):
    """The trace store answers but cannot be read as one: wrong database, tables or columns missing, no rights."""


class SourceUnreachableError(RetryableError):
    """The trace store does not answer, or broke off in the middle of a read."""


class SourceSlowError(RetryableError):
    """A question to the trace store took longer than it may."""


class ControlUnreachableError(RetryableError):
    """The control database does not answer or stays locked."""


class ControlSchemaError(PermanentError):
    """The control database holds no schema, an older or a newer one than this version needs."""


class DestinationError(ExportPipelineError):
    """The bucket's side failed.

    `error_class` is one of "Access denied", "Bucket is not valid", "Key ID you provided does not exist",
    "Invalid endpoint", "Unavailable"; `code` is the store's own code ("AccessDenied"), where it gave one.
    """

    def __init__(self, message: str, *, error_class: str, code: str | None = None) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.code = code


class DestinationRefusedError(DestinationError, PermanentError):
    """The store refuses: credentials, rights, bucket or endpoint."""


class AccessDeniedError(DestinationRefusedError):
    """The store refuses because of credentials or rights: `error_class` is "Access denied"."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, error_class="Access denied", code=code)


class DestinationUnavailableError(DestinationError, RetryableError):
    """The store does not answer, or answers that it cannot serve now."""


class DayReturnedError(RetryableError):
    """A day that its run gave back undone: a store was away for the days before it, or the run was ended."""


class SecretsError(PermanentError):
    """Stored credentials do not open: a key is missing from the settings, or the row was tampered with."""


class EmbeddedError(PermanentError):
    """A part of the embedded set-up cannot run here: its program is missing, a port is taken, it does not start."""


class DayBusyError(RetryableError):
    """Another process holds the day's lease."""


class LeaseLostError(RetryableError):
    """This process lost the day's lease to another one and has stopped writing."""


class DayCancelledError(ExportPipelineError):
    """The day was cancelled before its commit."""


class RowCountError(RetryableError):
    """The rows read do not add up to the rows counted in the same snapshot; nothing was committed."""


class ShrunkError(PermanentError):
    """The source now has fewer rows for a committed day than were committed; the committed file is kept."""


class ForeignCommitError(PermanentError):
    """The bucket holds a newer commit of this day than the control database knows."""


class DayTooLargeError(PermanentError):
    """The day does not fit into one object at the configured part size; nothing was committed."""
