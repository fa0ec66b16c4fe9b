"""The SQLSTATE of a connection that a server refuses.

The drivers hand over its message alone, in the server's language. libpq puts the code into it where it is asked to
before the connection is made; psycopg2 carries a libpq that can be called.
"""

import ctypes
import re
import select
import time

_SQLSTATE_ONLY = 3  # PQERRORS_SQLSTATE
_FAILED, _READING, _WRITING, _OK = range(4)  # PostgresPollingStatusType
_CODE = re.compile(r":  ([0-9A-Z]{5})$", re.MULTILINE)


def refusals(uri: str, *, seconds: float = 10.0) -> list[str]:
    """The SQLSTATEs with which the servers of the URI refuse a connection, tried once more.

    Empty where they let one in this time, or where there is no libpq to be called.
    """
    try:
        library = _library()
    except (ImportError, OSError, AttributeError):
        return []
    connection = library.PQconnectStart(uri.encode())
    try:
        library.PQsetErrorVerbosity(connection, _SQLSTATE_ONLY)
        _poll(library, connection, deadline=time.monotonic() + seconds)
        return _CODE.findall(library.PQerrorMessage(connection).decode(errors="replace"))
    finally:
        library.PQfinish(connection)


def _library() -> ctypes.CDLL:
    from psycopg2 import _psycopg

    library = ctypes.CDLL(_psycopg.__file__)
    library.PQconnectStart.restype, library.PQconnectStart.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    library.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.PQerrorMessage.restype = ctypes.c_char_p
    for name in ("PQconnectPoll", "PQsocket", "PQerrorMessage", "PQfinish"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    return library


def _poll(library: ctypes.CDLL, connection: int, *, deadline: float) -> None:
    state = _WRITING
    while state not in {_FAILED, _OK}:
        if (socket := library.PQsocket(connection)) < 0 or (left := deadline - time.monotonic()) <= 0:
            return
        sockets = [socket]
        ready = select.select(sockets if state == _READING else [], sockets if state == _WRITING else [], [], left)
        if not any(ready):
            return
        state = library.PQconnectPoll(connection)
