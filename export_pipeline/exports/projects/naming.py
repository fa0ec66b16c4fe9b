"""The names of assets: made from a project's name once, never changed afterwards."""

import re
import unicodedata
import uuid
from collections.abc import Container

LONGEST = 100
"""Characters of an asset's name at most; a project's name may be of any length."""

_SHORT_ID = 8


def asset_name(name: str, session_id: uuid.UUID, *, taken: Container[str]) -> str:
    """A name in `[a-z0-9_]` for the project's asset that is not among `taken`.

    Letters are reduced to their plain form ("Größe" to "grosse"); what has none becomes an underscore. A name of which
    nothing is left becomes "project". A second project of the same name gets the first digits of its id after it.
    """
    plain = _plain(name)
    if plain not in taken:
        return plain
    digits = session_id.hex
    for length in (_SHORT_ID, len(digits)):
        suffix = f"_{digits[:length]}"
        if (candidate := plain[: LONGEST - len(suffix)] + suffix) not in taken:
            return candidate
    raise ValueError(f"no asset name is left for project {name!r} ({session_id})")


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    letters = "".join(character for character in folded if not unicodedata.combining(character))
    return re.sub("[^a-z0-9]+", "_", letters).strip("_")[:LONGEST].rstrip("_") or "project"
