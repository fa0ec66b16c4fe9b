"""Column types: UUIDs as text, and what others say, cut to what every database takes and a person reads."""

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import shortened


class UuidText(sa.TypeDecorator[uuid.UUID]):
    """A UUID, kept as its 36 characters: the same on every database, and readable in all of them."""

    impl = sa.String(36)
    cache_ok = True

    def process_bind_param(self, value: uuid.UUID | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002 -- SQLAlchemy calls it so
        """As text."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> uuid.UUID | None:  # noqa: ARG002 -- SQLAlchemy calls it so
        """As a UUID."""
        return None if value is None else uuid.UUID(value)


class ErrorText(sa.TypeDecorator[str]):
    """A text that `errors.shortened` has gone over."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002 -- SQLAlchemy calls it so
        """Goes over it."""
        return None if value is None else shortened(value)


class ErrorTexts(sa.TypeDecorator[Any]):
    """JSON whose texts `errors.shortened` has gone over, at whatever depth they stand."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:  # noqa: ARG002 -- SQLAlchemy calls it so
        """Goes over them."""
        return _shortened(value)


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, Mapping):
        return {name: _shortened(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value]
    return value
