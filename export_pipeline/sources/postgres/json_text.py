"""Whether a text can be read as JSON, as conditions: a cast of one that cannot ends the query."""

from export_pipeline.sources.sql.filter_json import MAX_DEPTH

ASKED_FROM = 160_000
"""The first version of the server that can be asked, as its `server_version_num` has it."""

_ANY_STRING = r'"(?:[^"\\]|\\.)*"'
_STRING = r'"(?:[^"\\\u0001-\u001f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
_SCALAR = r"-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null"
_A_STRING, _A_VALUE = "\\u0001", "\\u0002"
"""What stands for a string, and for another value, while a text is parsed: signs that are in no JSON."""
_EITHER = f"[{_A_STRING}{_A_VALUE}]"
_MEMBER = f"{_A_STRING}:{_EITHER}"
_INNERMOST = f"\\[(?:{_EITHER}(?:,{_EITHER})*)?\\]|[{{](?:{_MEMBER}(?:,{_MEMBER})*)?[}}]"
"""A list or an object without others in it."""


def is_shallow(text: str) -> str:
    """The server's parser fails on what is nested too deep. Counted exactly only where there are enough brackets."""
    many = f"octet_length({text}) - octet_length(replace(replace({text}, '[', ''), '{{', '')) > {MAX_DEPTH}"
    marks = f"regexp_replace(regexp_replace({text}, '{_ANY_STRING}', '', 'g'), '[^][{{}}]', '', 'g')"
    steps = (
        "SELECT sum(CASE WHEN c.mark IN ('[', '{') THEN 1 ELSE -1 END) OVER (ORDER BY c.place) AS depth "
        f"FROM string_to_table({marks}, NULL) WITH ORDINALITY AS c(mark, place)"
    )
    return (
        f"CASE WHEN {many} THEN COALESCE((SELECT max(s.depth) <= {MAX_DEPTH} FROM ({steps}) AS s), true) ELSE true END"
    )


def is_json(text: str, *, version: int) -> str:
    """Asked of servers that know it; on older ones the text is parsed here."""
    return f"pg_input_is_valid({text}, 'json')" if version >= ASKED_FROM else _is_parsed(text)


def _is_parsed(text: str) -> str:
    """Strings and scalars become signs, then lists and objects from the inside: a single sign is left of JSON."""
    strings = f"regexp_replace({text}, '{_STRING}', E'{_A_STRING}', 'g')"
    scalars = f"regexp_replace({strings}, '{_SCALAR}', E'{_A_VALUE}', 'g')"
    first = f"regexp_replace({scalars}, '[ \\t\\n\\r]', '', 'g')"
    further = f"regexp_replace(p.t, '{_INNERMOST}', E'{_A_VALUE}', 'g')"
    return (
        f"{text} !~ '{_EITHER}' AND (WITH RECURSIVE parsed(t) AS (SELECT {first} UNION ALL "
        f"SELECT {further} FROM parsed AS p WHERE p.t ~ '{_INNERMOST}') "
        f"SELECT bool_or(p.t ~ '^{_EITHER}$') FROM parsed AS p)"
    )
