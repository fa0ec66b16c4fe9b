"""What PostgreSQL's errors mean, told by SQLSTATE: a server's words are in a language of its own.

Words are looked at only where they are never translated: those of the client library, which comes without catalogs,
and those of PgBouncer.
"""

import re
from collections.abc import Collection

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.settings import PREFIX
from export_pipeline.sources.sql.failing import ExpressionError

NOT_PERMITTED = "42501"
LOCK_NOT_AVAILABLE = "55P03"
LOCK_SECONDS = 30
"""How long a lock on a table is waited for."""

# Classes, or whole codes, of what trying again does not mend: wrong SQL and missing rights (42), values that an
# expression cannot take (22), what is not there (3D, 3F) or not supported (0A), who is refused (28), what a function
# raises (2F, 38, 39, P0), limits of a statement (21, 54), pages that are damaged (XX001, XX002).
_UNUSABLE = ("42", "22", "0A", "3D", "3F", "28", "2F", "38", "39", "P0", "21", "54", "XX001", "XX002")
_OF_VALUES = ("22", "2F", "38", "39", "P0")
_CONFLICTS = {"40001", "40P01"}
"""A read-only transaction is cancelled with these on a replica only."""
_CONFLICTING = (
    "conflicts with what it replays from its primary: on it set hot_standby_feedback = on (against VACUUM) and raise "
    "max_standby_streaming_delay (against locks), or read from the primary"
)

_CLIENT_REFUSES = (
    "no password supplied",
    "does not support SSL",
    "certificate verify failed",
    "invalid connection option",
    "invalid URI",
    "invalid port",
    "invalid integer",
    "invalid sslmode",
    "authentication method",
    "root certificate file",
)
_POOLER_REFUSES = ("unsupported startup parameter", "no such database", "no such user")
_STATEMENT_POOLING = "statement pooling mode"
_BY_THE_SERVER = re.compile(r"failed: [^\s:]+:  ")
_PARAMETER = re.compile(r'invalid URI query parameter: "([^"]*)"')


class RefusedByServerError(SourceUnusableError):
    """An error of the server that stays; `sqlstate` is its code."""

    def __init__(self, message: str, *, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class RefusedValueError(RefusedByServerError, ExpressionError):
    """An error that the server's or a user's function raises because of what it was given."""


class PassingServerError(SourceUnreachableError):
    """An error of the server that may pass; `sqlstate` is its code."""

    def __init__(self, message: str, *, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def is_lost(error: ExportPipelineError) -> bool:
    """Whether the connection is gone, rather than a statement refused."""
    if isinstance(error, RefusedByServerError):
        return False
    return not isinstance(error, PassingServerError) or error.sqlstate.startswith(("57P", "08"))


class PostgresErrors:
    """The errors of one trace store: `place` is how its URL is shown, `secrets` are never in a text."""

    def __init__(self, *, place: str, secrets: Collection[str]) -> None:
        self._place, self._secrets = place, secrets

    def gist(self, text: str) -> str:
        """The gist of a driver's message on one line, never with the password."""
        text = re.sub(r"^[A-Z_]+: |\[libpq\] |Failed to connect: |Execution error \[\w+\]: ", "", text)
        text = re.sub(r"^Failed to \w+ query: |^Failed to execute query '.*?': ", "", text, flags=re.DOTALL)
        text = re.sub(r"\n?\s*Query was:.*", "", text, flags=re.DOTALL).split("\nLINE ")[0]
        text = re.sub(r"\. SQLSTATE: \w+$", "", text.strip())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())

    @staticmethod
    def is_by_the_server(text: str) -> bool:
        """Whether a server answered that it does not let one in; its code is not in the text."""
        return _BY_THE_SERVER.search(text) is not None

    def of_connecting(self, text: str, sqlstates: Collection[str]) -> ExportPipelineError:
        """The error where no connection was made. `sqlstates`: the codes of the servers that answered."""
        reason, place = self.gist(text), f"{PREFIX}SOURCE_URL ({self._place})"
        if parameter := _PARAMETER.search(reason):
            return SourceUnusableError(
                f"{PREFIX}SOURCE_URL: {parameter[1]} is not a parameter of libpq, the PostgreSQL client; remove it"
            )
        words = _POOLER_REFUSES if sqlstates else _CLIENT_REFUSES
        if any(state.startswith(_UNUSABLE) for state in sqlstates) or any(word in reason for word in words):
            return SourceUnusableError(f"{place}: PostgreSQL refuses the connection: {reason}")
        return SourceUnreachableError(f"{place}: PostgreSQL does not answer: {reason}")

    def of_query(self, text: str, sqlstate: str | None, *, on_replica: bool) -> ExportPipelineError:
        """The error of a query or a stream; a connection that broke has no code."""
        reason = self.gist(text)
        if _STATEMENT_POOLING in reason:
            return SourceUnusableError(
                f"{PREFIX}SOURCE_URL ({self._place}) leads to PgBouncer in statement pooling mode, in which a day "
                "cannot be read in one transaction; use transaction or session pooling, or PostgreSQL itself"
            )
        if sqlstate is None:
            cause = f"; it is a replica, which may have ended what {_CONFLICTING}" if on_replica else ""
            return SourceUnreachableError(f"the trace store ({self._place}) broke off: {reason}{cause}")
        if sqlstate in _CONFLICTS and on_replica:
            return PassingServerError(
                f"the trace store ({self._place}) is a replica and cancelled the read, which {_CONFLICTING} ({reason})",
                sqlstate=sqlstate,
            )
        if sqlstate == LOCK_NOT_AVAILABLE:
            return PassingServerError(
                f"the trace store ({self._place}): another session, perhaps a migration, has kept a table locked for "
                f"{LOCK_SECONDS} seconds; it is read once the lock is released ({reason})",
                sqlstate=sqlstate,
            )
        if sqlstate.startswith(_UNUSABLE):
            kind = RefusedValueError if sqlstate.startswith(_OF_VALUES) else RefusedByServerError
            return kind(f"the trace store ({self._place}) cannot be read: {reason}", sqlstate=sqlstate)
        return PassingServerError(f"the trace store ({self._place}) broke off: {reason}", sqlstate=sqlstate)
