"""What ClickHouse's errors mean, told by their codes.

An error comes with the status of an answer, or, once rows have been sent, as text in the middle of its body.
"""

import re
from collections.abc import Collection

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.settings import PREFIX
from export_pipeline.sources.sql.failing import ExpressionError

CONSTRAINED = 452
"""SETTING_CONSTRAINT_VIOLATION."""
NOT_PERMITTED = 497
"""ACCESS_DENIED."""

# Who is refused, and databases that do not exist.
_REFUSED = {192, 193, 194, 195, 516, 81}
# Values that an expression cannot take: unreadable numbers, dates, UUIDs and JSON, out of bounds, division by zero.
_OF_VALUES = {6, 26, 27, 38, 41, 69, 70, 72, 117, 131, 153, 190, 321, 349, 376, 395, 407, 691}
# What stays: wrong SQL, what does not exist or fit, missing rights, settings that may not be changed.
_UNUSABLE = {
    10, 15, 16, 20, 35, 36, 40, 42, 43, 44, 46, 47, 48, 50, 51, 53, 57, 60, 62, 63, 80, 115, 125, 164, 167, 169, 179,
    181, 183, 184, 207, 215, 258, 344, 352, 386, 403, CONSTRAINED, NOT_PERMITTED, 636,
}  # fmt: skip
_LIMITS = {158, 159, 160, 161, 191, 201, 202, 241, 307, 396}
"""Of rows, bytes, time, memory, and quotas."""

_TOLD = re.compile(r"Code: (\d+)\. DB::(?:Exception|NetException|ParsingException|ErrnoException)?:? ?(.*)", re.DOTALL)
_NOISE = re.compile(r"\s*\(version .*|\s*__exception__.*|: While executing \w+.*| ?\(in query: .*", re.DOTALL)
_CAUSE = re.compile(r"Failed to resolve '[^']*'|Connection (?:refused|reset by peer|broken|aborted)|timed out|SSL: \w+")
"""What went wrong with a connection, among all that the libraries say of it."""
_NATIVE_PORT = "is for clickhouse-client program"


class RefusedByServerError(SourceUnusableError):
    """An error of the server that stays; `code` is its number."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class RefusedValueError(RefusedByServerError, ExpressionError):
    """An error that a function raises because of what it was given."""


def told_in(text: str) -> tuple[int, str] | None:
    """The code and the words of the last error that a text holds."""
    start = text.rfind("Code: ")
    match = None if start < 0 else _TOLD.match(text, start)
    return None if match is None else (int(match[1]), " ".join(_NOISE.sub("", match[2]).split()))


class ClickhouseErrors:
    """The errors of one trace store: `place` is how its URL is shown, `secrets` are never in a text."""

    def __init__(self, *, place: str, secrets: Collection[str]) -> None:
        self._place, self._secrets = place, secrets

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())

    def of_server(self, code: int, words: str) -> ExportPipelineError:
        """The error that the server tells."""
        reason = f"{self._clean(words).rstrip('.')} (code {code})"
        if code in _REFUSED:
            return RefusedByServerError(
                f"{PREFIX}SOURCE_URL ({self._place}): ClickHouse refuses the connection: {reason}", code=code
            )
        if code in _OF_VALUES:
            return RefusedValueError(f"the trace store ({self._place}) cannot be read: {reason}", code=code)
        if code in _UNUSABLE:
            return RefusedByServerError(f"the trace store ({self._place}) cannot be read: {reason}", code=code)
        limit = "a limit of the server or of its user was reached: " if code in _LIMITS else ""
        return SourceUnreachableError(f"the trace store ({self._place}) broke off: {limit}{reason}")

    def of_answer(self, text: str, *, connecting: bool = False, hint: str = "") -> ExportPipelineError:
        """The error of an answer that is none of a query: from something else, or cut off.

        `hint` is what to say of it while `connecting`.
        """
        if (told := told_in(text)) is not None:
            return self.of_server(*told)
        if _NATIVE_PORT in text:
            return SourceUnusableError(
                f"{PREFIX}SOURCE_URL ({self._place}) leads to ClickHouse's native port; name the one for HTTP, which "
                "is 8123, or 8443 with clickhouses://"
            )
        cause = _CAUSE.search(text)
        reason = self._clean(text if cause is None else cause[0])[:300]
        if connecting:
            return SourceUnreachableError(
                f"{PREFIX}SOURCE_URL ({self._place}): ClickHouse does not answer: {reason}{hint}"
            )
        return SourceUnreachableError(f"the trace store ({self._place}) broke off: {reason}")
