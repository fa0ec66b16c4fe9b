"""Ids: every textual form of a UUID becomes that UUID, every other text a UUID of its own."""

import re
import uuid

from export_pipeline.runs.times import BLANKS

NAMESPACE = uuid.UUID("6ab1a3a4-3d55-5b0e-9d53-2f6c1be0f7d1")
"""The namespace of the uuid5 that stands for an id that is no UUID. It never changes: files refer to it."""

CANONICAL_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
"""The form in which every id is written here, as a pattern."""

ANY_UUID = "[0-9a-f]{4}(?:-?[0-9a-f]{4}){7}"
"""Its digits in any spelling, in lower case; PostgreSQL's regular expressions know all that it is made of."""

_ANY_UUID = re.compile(ANY_UUID)


def parse_uuid(text: str) -> uuid.UUID | None:
    """The UUID that a text writes, or None.

    Accepted are 32 hexadecimal digits in either case, with dashes between any groups of four, within braces or after
    `urn:uuid:` or not, blanks around it aside: the forms of RFC 9562, PostgreSQL, SQL Server and OpenTelemetry.
    """
    plain = text.strip(BLANKS).lower().removeprefix("urn:uuid:")
    if plain.startswith("{") and plain.endswith("}"):
        plain = plain[1:-1]
    return uuid.UUID(hex=plain) if _ANY_UUID.fullmatch(plain) else None


def canonical(text: str) -> str:
    """An id with a UUID in the usual spelling; any other as it is."""
    return str(parse_uuid(text) or text)


def uuid_of(text: str) -> uuid.UUID:
    """The UUID of an id: the one that it writes, else uuid5 of `NAMESPACE` and the text as it is.

    A lone surrogate, which UTF-8 cannot hold, counts as its Python escape.
    """
    return parse_uuid(text) or uuid.uuid5(NAMESPACE, text.encode(errors="backslashreplace").decode())
