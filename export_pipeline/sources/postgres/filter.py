"""PostgreSQL's words for filters. `filter_json` has the rules for JSON that are written in SQL here."""

from typing_extensions import override

from export_pipeline.runs.cells import FLAGS
from export_pipeline.runs.ids import ANY_UUID
from export_pipeline.runs.times import BLANKS, MAX_MICROS, MIN_MICROS
from export_pipeline.sources.postgres.adbc import Adbc
from export_pipeline.sources.postgres.dialect import INTEGERS, NATIVE, PostgresDialect, cleaned
from export_pipeline.sources.postgres.json_text import is_json, is_shallow
from export_pipeline.sources.sql.dialect import Column
from export_pipeline.sources.sql.filter_json import MAX_KEY
from export_pipeline.sources.sql.filter_words import BoundKind, FilterWords, ListPlace, PathPlace

SETTING = "export_pipeline.p"
MAX_NUMBER = 1_000

_TYPES: dict[BoundKind, str] = {"text": "text", "integer": "int8", "number": "numeric"}
_BLANKS = "E'" + "".join(f"\\x{ord(blank):02x}" for blank in BLANKS) + "'"
_NUMBER = "^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?0*[0-9]{1,3})?$"
_UUID = f"^(urn:uuid:)?({ANY_UUID}|[{{]{ANY_UUID}[}}])$"
_STAMP = "[0-9]{8}T[0-9]{12}Z"
_DOTTED = f"^({_STAMP}[^.]+[.])*{_STAMP}[^.]+$"
_PLACES: dict[PathPlace, str] = {
    "root": f"^{_STAMP}([^.]+)",
    "parent": f"{_STAMP}([^.]+)[.][^.]+$",
    "own": f"{_STAMP}([^.]+)$",
}


class PostgresFilterWords(FilterWords):
    """PostgreSQL's words for filters."""

    def __init__(self, dialect: PostgresDialect, server: Adbc) -> None:
        self._dialect, self._server = dialect, server

    @override
    def bound(self, number: int, kind: BoundKind) -> str:
        """The subquery is evaluated once, not for every row."""
        return f"(SELECT current_setting('{SETTING}{number}')::{_TYPES[kind]})"

    @override
    def text(self, column: Column) -> str:
        return f'(({self._dialect.text(column)}) COLLATE "C")'

    @override
    def haystack(self, column: Column) -> str:
        return f"lower({self.text(column)})"

    @override
    def id(self, column: Column) -> str:
        if column.type == "uuid" or column.type in self._dialect.numbers:
            return f'(({self._dialect.id(column)}) COLLATE "C")'
        digits = f"regexp_replace({self.word(column)}, '^urn:uuid:|[{{}}-]', '', 'g')"
        return (
            f"(CASE WHEN {self.word(column)} ~ '{_UUID}' THEN {digits}::uuid::text "
            f"WHEN {self.word(column)} IS NOT NULL THEN {self.text(column)} END)"
        )

    @override
    def on_path(self, column: Column, place: PathPlace) -> str:
        part = Column(f"substring({self.text(column)} FROM '{_PLACES[place]}')", "text", column.detail)
        return f"(CASE WHEN {self.text(column)} ~ '{_DOTTED}' THEN {self.id(part)} END)"

    @override
    def listed(self, column: Column, place: ListPlace) -> str:
        usable = f"x.text <> 'null' AND btrim(x.text, {_BLANKS}) <> ''"
        order = f"x.place{' DESC' if place == 'last' else ''}"
        strings = self._strings(column, number="regexp_replace(m.value::text, '^(-?[0-9]+)[.]0+$', '\\1')")
        chosen = f"SELECT x.text FROM ({strings}) AS x WHERE {usable} ORDER BY {order} LIMIT 1"
        return f"(SELECT {self.id(Column('y.text', 'text', column.detail))} FROM ({chosen}) AS y)"

    @override
    def word(self, column: Column) -> str:
        return f"NULLIF(lower(btrim({self.text(column)}, {_BLANKS})), '')"

    @override
    def micros(self, column: Column) -> str:
        time = self._dialect.time(column)
        if column.type not in NATIVE:
            return f"(CASE WHEN {time.instant} BETWEEN {MIN_MICROS} AND {MAX_MICROS} THEN ({time.instant})::int8 END)"
        inside = f"{time.instant} >= '0001-01-01 00:00:00+00' AND {time.instant} < '10000-01-01 00:00:00+00'"
        return f"(CASE WHEN {inside} THEN round((extract(epoch FROM {time.instant}) * 1000000)::numeric)::int8 END)"

    @override
    def whole(self, column: Column) -> str:
        if column.type in INTEGERS:
            return f"{column.sql}::int8"
        number = self.number(column)
        fits = f"{number} BETWEEN -9223372036854775808 AND 9223372036854775807 AND {number} % 1 = 0"
        return f"(CASE WHEN {fits} THEN ({number})::int8 END)"

    @override
    def flag(self, column: Column) -> str:
        if column.type == "bool":
            return column.sql
        return f"(CASE WHEN {self.word(column)} IN ({_words(is_set=True)}) THEN true {self._false(column)} END)"

    def _false(self, column: Column) -> str:
        return f"WHEN {self.word(column)} IN ({_words(is_set=False)}) THEN false"

    @override
    def number(self, column: Column) -> str:
        return self.json_number(f"btrim({self.text(column)}, {_BLANKS})")

    @override
    def json_number(self, text: str) -> str:
        return f"(CASE WHEN length({text}) <= {MAX_NUMBER} AND {text} ~ '{_NUMBER}' THEN ({text})::numeric END)"

    @override
    def compare(self, number: str, sign: str, bound: str) -> str:
        return f"{number} {sign} {bound}"

    @override
    def like(self, text: str, pattern: str) -> str:
        return f"{text} LIKE {pattern}"

    @override
    def contains(self, haystack: str, text: str) -> str:
        return f"strpos({haystack}, {text}) > 0"

    @override
    def has(self, column: Column, text: str) -> str:
        return f"EXISTS (SELECT 1 FROM ({self._strings(column)}) AS x WHERE x.text = {text})"

    def _strings(self, column: Column, *, number: str = "m.value::text") -> str:
        """Rows (text, place): the strings of a list, or the whole text where it is none."""
        element = f"CASE json_typeof(m.value) WHEN 'string' THEN m.value #>> '{{}}' ELSE {number} END"
        listed = f"SELECT {element}, m.place FROM json_array_elements({_if('d.value', 'array')})"
        stripped = f"btrim({self.text(column)}, {_BLANKS})"
        whole = f"SELECT {self.text(column)}, 0 WHERE {stripped} NOT IN ('', 'null')"
        return (
            f"SELECT s.text, s.place FROM {self._document(column)} AS d, LATERAL ("
            f"{listed} WITH ORDINALITY AS m(value, place) UNION ALL "
            f"{whole} AND json_typeof(d.value) IS DISTINCT FROM 'array') AS s(text, place)"
        )

    @override
    def entries(self, column: Column, *, inside: str | None, wanted: str | None) -> str:
        """`wanted` also says where there is nothing to be found further down.

        The query walks the JSON of one row, a level at a time; `tree` holds each value under its key:

        - it begins with the members of the root, `{"a": {"b": 1}}` gives `a`;
        - a member of an object continues the key, `a.b`; an element of a list has the key of the list, because a filter
          asks whether any of them fits. Both come from one LATERAL, as the recursive part of a query may name `tree`
          only once;
        - a key that is not on the way to the wanted one (`leads`) is not followed, so that a large document costs its
          top level only, and neither is one longer than `MAX_KEY`. Depth ends by itself: `_document` gives null for
          JSON nested deeper than `MAX_DEPTH`.

        Functions over members fail on any other kind of value, also where a WHERE would have left it out: the server
        may call them first. So each call has a CASE around its argument (`_if`), and null gives no rows.
        """
        root = "d.value" if inside is None else f"({_if('d.value', 'object')} -> '{inside}')"
        leads = f"({{0}}.key = {wanted} OR starts_with({wanted}, {{0}}.key || '.'))" if wanted else "true"
        document, members = self._document(column), f"json_each({_if(root, 'object')})"
        top = f"SELECT m.key, m.value FROM {document} AS d, {members} AS m WHERE {leads.format('m')}"
        members = f"SELECT t.key || '.' || n.key, n.value FROM json_each({_if('t.value', 'object')}) AS n"
        elements = f"SELECT t.key, n.value FROM json_array_elements({_if('t.value', 'array')}) AS n(value)"
        below = (
            f"SELECT c.key, c.value FROM tree AS t, LATERAL ({members} UNION ALL {elements}) AS c(key, value) "
            f"WHERE length(t.key) <= {MAX_KEY} AND {leads.format('c')}"
        )
        text = "CASE WHEN json_typeof(w.value) NOT IN ('object', 'array', 'null') THEN w.value #>> '{}' END"
        here = f"w.key = {wanted}" if wanted else "true"
        return (
            f"(WITH RECURSIVE tree(key, value) AS ({top} UNION ALL {below}) "
            f'SELECT w.key COLLATE "C" AS key, json_typeof(w.value) AS type, ({text}) COLLATE "C" AS text '
            f"FROM tree AS w WHERE {here} AND length(w.key) <= {MAX_KEY})"
        )

    def _document(self, column: Column) -> str:
        """One row with the JSON of a column as `value`: null where it is not readable.

        `OFFSET 0` keeps the server from merging the subqueries, which would compute each step once for every mention
        of it, and from casting text before it was found to be valid.
        """
        if column.type == "jsonb":
            return f"(SELECT {column.sql}::text::json AS value)"
        if column.type == "array":
            return f"(SELECT to_json({column.sql}) AS value)"
        text = f"(SELECT {self._dialect.text(column)} AS t OFFSET 0) AS raw"
        clean = f"(SELECT {cleaned('raw.t')} AS t FROM {text} OFFSET 0) AS clean"
        readable = f"{is_shallow('clean.t')} AND {is_json('clean.t', version=self._server.version)}"
        return f"(SELECT CASE WHEN {readable} THEN clean.t::json END AS value FROM {clean} OFFSET 0)"


def _words(*, is_set: bool) -> str:
    return ", ".join(f"'{word}'" for word, meaning in FLAGS.items() if meaning is is_set)


def _if(value: str, kind: str) -> str:
    return f"CASE WHEN json_typeof({value}) = '{kind}' THEN {value} END"
