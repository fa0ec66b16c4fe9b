"""Types of columns, as the queries tell them apart: by the protocol's codes, and texts by their collation too."""

_BY_CODE = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13), "integer"),
    **dict.fromkeys((0, 246), "decimal"),
    4: "float",
    5: "double",
    6: "null",
    7: "timestamp",
    **dict.fromkeys((10, 14), "date"),
    11: "time",
    12: "datetime",
    16: "bit",
    255: "geometry",
}
_JSON = 245
_BINARY = "binary"

NUMBERS = frozenset({"integer", "decimal", "double", "float"})
NATIVE_TIMES = frozenset({"timestamp", "datetime", "date"})
TEXTS = frozenset({"text", "json"})


def type_of(code: int, collation: str, *, is_json: bool = False) -> str:
    """The type of a column: a word, behind which a text has its collation. `is_json`: a text that holds JSON."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code == _JSON:
        return "json utf8mb4_bin"  # MySQL's own type calls its collation binary
    if collation == _BINARY:
        return _BINARY
    return f"{'json' if is_json else 'text'} {collation}"


def family(type_: str) -> str:
    """The type without its collation."""
    return type_.partition(" ")[0]


def collation(type_: str) -> str:
    """The collation of a text."""
    return type_.partition(" ")[2]
