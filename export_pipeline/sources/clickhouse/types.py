"""ClickHouse's names of types."""

import re

INTEGERS = {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)}
IN_INT64 = {"Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32"}
NUMBERS = frozenset({*INTEGERS, "Float32", "Float64", "BFloat16", "Decimal"})
NESTED = {"Map", "Array", "Tuple", "Nested", "JSON", "Object", "Variant", "Dynamic"}
NATIVE_TIMES = {"Date", "Date32", "DateTime", "DateTime64"}


def unwrapped(name: str) -> tuple[str, bool]:
    """The type inside `Nullable` and `LowCardinality`, and whether values may be null."""
    nullable = False
    while (inner := _inner(name)) is not None:
        nullable = nullable or name.startswith("Nullable(")
        name = inner
    return name, nullable


def _inner(name: str) -> str | None:
    for wrapper in ("Nullable(", "LowCardinality("):
        if name.startswith(wrapper):
            return name[len(wrapper) : -1]
    if name.startswith("SimpleAggregateFunction("):
        return name.partition(", ")[2][:-1]
    return None


def family(name: str) -> str:
    """The name of a type without its parameters."""
    return name.partition("(")[0]


def scale(name: str) -> int:
    """The digits after the second of a time."""
    match = re.match(r"DateTime64\((\d)", name)
    return int(match[1]) if match else 0
