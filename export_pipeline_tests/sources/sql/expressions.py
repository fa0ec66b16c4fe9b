"""Expressions of a mapping that fail on some rows, in each database, and what they give on the others."""

from uuid import UUID

from export_pipeline_tests.sources.stores import Store, execute

EXTRACT = {
    "sqlite": "json_extract(inputs, '$.q')",
    "postgresql": "CAST(inputs AS json) ->> 'q'",
    "clickhouse": "if(throwIf(NOT isValidJSON(assumeNotNull(inputs)), 'JSON') = 0, JSONExtractString(inputs, 'q'), '')",
    # MariaDB's functions of JSON give null and a warning; a number that is too large is an error.
    "mysql": "CASE WHEN JSON_VALID(inputs) THEN JSON_VALUE(inputs, '$.q') "
    "ELSE CAST(9223372036854775807 + LENGTH(inputs) AS CHAR) END",
}
DIVIDE = {
    "sqlite": "abs(CASE tokens WHEN 0 THEN -9223372036854775807 - 1 ELSE tokens END)",
    "postgresql": "6 / tokens",
    "clickhouse": "intDiv(6, tokens)",
    "mysql": "CASE tokens WHEN 0 THEN 9223372036854775807 + LENGTH(name) ELSE tokens END",
}


def expected(store: Store, good: str) -> dict[int, str | None]:
    """What EXTRACT gives by plain SQL, by id, of the rows that a condition chooses."""
    asked = f"SELECT id, {EXTRACT[store.dialect]} FROM runs WHERE {good}"
    if store.dialect == "clickhouse":
        return {UUID(id_).int: text for id_, text in map(str.split, execute(store.url, asked).splitlines())}
    cursor = store.connection.cursor()
    cursor.execute(asked)
    return {UUID(str(id_)).int: text for id_, text in cursor.fetchall()}
