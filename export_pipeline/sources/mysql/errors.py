"""What the errors of MySQL and MariaDB mean, told by their numbers: a server's words are in a language of its own."""

from collections.abc import Collection

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.settings import PREFIX
from export_pipeline.sources.sql.failing import ExpressionError

NO_SUCH_TABLE, UNKNOWN_DATABASE = 1146, 1049
NOT_PERMITTED = {1044, 1142, 1143, 1370}
UNKNOWN_VARIABLE = 1193
NOT_PRIVILEGED = 1227
"""To do what only some accounts may, whatever the rights on tables."""
LOCK_SECONDS = 30
"""How long a lock on a table is waited for."""
CUT = {1153, 1260, 1301}
"""A value that was longer than the server sends, or than it lets a function make."""

# Who is refused: user, password, database, host, expired passwords, locked accounts, an unknown way to log in.
_REFUSED = {1044, 1045, 1049, 1130, 1129, 1251, 1698, 1820, 1862, 3118, 4151}
_ACCESS_DENIED = 1045
_TLS_REQUIRED = {3159, 4150}
# What stays although its class says otherwise: a table that is damaged, a definition that cannot be read.
_UNUSABLE = {126, 127, 145, 1033, 1052, 1194, 1195, 1356, 1449}
_JSON = range(4035, 4047)
_OF_VALUES = {1139, 1242, 1365, 1411, 1441, 1644, 1690, 1918, *_JSON}
_CLASSES_OF_VALUES = ("22", "21", "45")
# What passes although its class is that of wrong statements: limits that others have reached, locks, interrupts.
_PASSING = {
    **dict.fromkeys((1040, 1203, 1213, 1226, 1317, 1927), " broke off"),
    1205: f": another session, perhaps a migration, has kept a table locked for {LOCK_SECONDS} seconds; it is read "
    "once the lock is released",
    1412: ": a table was altered or replaced while it was about to be read; it is read again",
    **dict.fromkeys((1969, 3024), ": the server's limit on the time of a statement was reached"),
}
_LOST = {2003, 2006, 2013, 2055}
_FIRST_OF_CLIENT, _LAST_OF_CLIENT = 2000, 2999


class RefusedByServerError(SourceUnusableError):
    """An error of the server that stays; `number` is its code."""

    def __init__(self, message: str, *, number: int) -> None:
        super().__init__(message)
        self.number = number


class RefusedValueError(RefusedByServerError, ExpressionError):
    """An error that a function raises because of what it was given."""


class MysqlErrors:
    """The errors of one trace store: `place` is how its URL is shown, `secrets` are never in a text."""

    def __init__(self, *, place: str, secrets: Collection[str]) -> None:
        self._place, self._secrets = place, secrets

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())

    def of_connecting(self, error: Exception) -> ExportPipelineError:
        """The error where no connection was made."""
        number, words = number_of(error), self._clean(_words(error))
        place = f"{PREFIX}SOURCE_URL ({self._place})"
        if "CERTIFICATE_VERIFY_FAILED" in words or "certificate verify failed" in words:
            return SourceUnusableError(
                f"{place}: the server's certificate is not trusted, or names another host; name the file of its "
                "authority with ?ssl_ca=/path"
            )
        if number in _TLS_REQUIRED:
            return SourceUnusableError(f"{place}: the server takes connections with TLS only; add ?ssl_mode=REQUIRED")
        if "SSL is required but the server doesn't support it" in words:
            return SourceUnusableError(f"{place}: the server has no TLS, which ssl_mode asks for")
        if number in _REFUSED:
            hint = "; correct them, or add ?ssl_mode=REQUIRED where the account may log in with TLS only"
            told = f"{words} ({number}){hint if number == _ACCESS_DENIED else ''}"
            return RefusedByServerError(f"{place}: the server refuses the connection: {told}", number=number)
        if number is not None and not _FIRST_OF_CLIENT <= number <= _LAST_OF_CLIENT:
            return SourceUnreachableError(f"{place}: the server lets nobody in: {words} ({number})")
        return SourceUnreachableError(f"{place}: no MySQL or MariaDB answers: {words}")

    def of_query(self, error: Exception) -> ExportPipelineError:
        """The error of a query or of a stream."""
        number, words = number_of(error), self._clean(_words(error))
        if number is None or number in _LOST or _FIRST_OF_CLIENT <= number <= _LAST_OF_CLIENT:
            return SourceUnreachableError(f"the trace store ({self._place}) broke off: {words or 'connection lost'}")
        return self.of_server(number, words, state=getattr(error, "sqlstate", None) or "")

    def of_server(self, number: int, words: str, *, state: str = "") -> ExportPipelineError:
        """The error that the server tells; `state` is its SQLSTATE."""
        told, store = f"{words.rstrip('.')} ({number})", f"the trace store ({self._place})"
        if number in CUT:
            return SourceUnusableError(
                f"{store} cannot be read: a value is longer than the server's max_allowed_packet lets it send or make; "
                f"raise that on the server: {told}"
            )
        if number in _PASSING:
            return SourceUnreachableError(f"{store}{_PASSING[number]}: {told}")
        if number in _OF_VALUES or state.startswith(_CLASSES_OF_VALUES):
            return RefusedValueError(f"{store} cannot be read: {told}", number=number)
        if number in _UNUSABLE or number in NOT_PERMITTED or state.startswith(("42", "28", "3D")):
            return RefusedByServerError(f"{store} cannot be read: {told}", number=number)
        return SourceUnreachableError(f"{store} broke off: {told}")

    def of_unlisted_warnings(self, listed: int, warnings: int, *, first: str) -> ExportPipelineError:
        """The error where a value that was cut may be among warnings that the server does not list."""
        return SourceUnusableError(
            f"the trace store ({self._place}) cannot be read: of {warnings:,} warnings or more the server lists "
            f"{listed:,}, so that a value that was cut may be among the others; the first: {self._clean(first)}; "
            "correct the expression of the mapping that causes them, or set max_error_count to 65535 on the server"
        )


def number_of(error: Exception) -> int | None:
    """The number of a driver's error."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) and first else None


def _words(error: Exception) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)
