-- eq(id, "0190cccc-0000-7000-8000-000000000001")
-- 1: 0190cccc-0000-7000-8000-000000000001
(((r."id")::text) COLLATE "C") = (SELECT current_setting('export_pipeline.p1')::text)

-- neq(name, "draft")
-- 1: draft
(COALESCE((((r."name")::text) COLLATE "C"), '') = (SELECT current_setting('export_pipeline.p1')::text)) IS NOT TRUE

-- like(error, "%timed out%")
-- 1: %timed out%
NULLIF((((r."error")::text) COLLATE "C"), '') LIKE (SELECT current_setting('export_pipeline.p1')::text)

-- in(run_type, ["llm", "tool"])
-- 1: llm
-- 2: tool
COALESCE(NULLIF(lower(btrim((((r."run_type")::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), 'chain') IN ((SELECT current_setting('export_pipeline.p1')::text), (SELECT current_setting('export_pipeline.p2')::text))

-- eq(status, "error")
-- 1: error
COALESCE(NULLIF(lower(btrim((((r."status")::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), CASE WHEN NULLIF((((r."error")::text) COLLATE "C"), '') IS NOT NULL THEN 'error' WHEN (CASE WHEN r."end_time" >= '0001-01-01 00:00:00+00' AND r."end_time" < '10000-01-01 00:00:00+00' THEN round((extract(epoch FROM r."end_time") * 1000000)::numeric)::int8 END) IS NULL THEN 'pending' ELSE 'success' END) = (SELECT current_setting('export_pipeline.p1')::text)

-- gt(end_time, "2026-03-14T12:00:00Z")
-- 1: 1773489600000000
(CASE WHEN r."end_time" >= '0001-01-01 00:00:00+00' AND r."end_time" < '10000-01-01 00:00:00+00' THEN round((extract(epoch FROM r."end_time") * 1000000)::numeric)::int8 END) > (SELECT current_setting('export_pipeline.p1')::int8)

-- lte(latency, "2.5s")
-- 1: 2500000
((CASE WHEN r."end_time" >= '0001-01-01 00:00:00+00' AND r."end_time" < '10000-01-01 00:00:00+00' THEN round((extract(epoch FROM r."end_time") * 1000000)::numeric)::int8 END) - (CASE WHEN r."start_time" >= '0001-01-01 00:00:00+00' AND r."start_time" < '10000-01-01 00:00:00+00' THEN round((extract(epoch FROM r."start_time") * 1000000)::numeric)::int8 END)) <= (SELECT current_setting('export_pipeline.p1')::int8)

-- eq(is_root, true)
COALESCE(r."is_root", (CASE WHEN ((CASE WHEN (((r."dotted_order")::text) COLLATE "C") ~ '^([0-9]{8}T[0-9]{12}Z[^.]+[.])*[0-9]{8}T[0-9]{12}Z[^.]+$' THEN (CASE WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') ~ '^(urn:uuid:)?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(?:-?[0-9a-f]{4}){7}[}])$' THEN regexp_replace(NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), '^urn:uuid:|[{}-]', '', 'g')::uuid::text WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') IS NOT NULL THEN (((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)$'))::text) COLLATE "C") END) END) = (((r."id")::text) COLLATE "C") AND ((((r."parent_run_id")::text) COLLATE "C") IS NULL OR ((CASE WHEN (((r."dotted_order")::text) COLLATE "C") ~ '^([0-9]{8}T[0-9]{12}Z[^.]+[.])*[0-9]{8}T[0-9]{12}Z[^.]+$' THEN (CASE WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') ~ '^(urn:uuid:)?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(?:-?[0-9a-f]{4}){7}[}])$' THEN regexp_replace(NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), '^urn:uuid:|[{}-]', '', 'g')::uuid::text WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') IS NOT NULL THEN (((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C") END) END) IS NOT NULL AND (CASE WHEN (((r."dotted_order")::text) COLLATE "C") ~ '^([0-9]{8}T[0-9]{12}Z[^.]+[.])*[0-9]{8}T[0-9]{12}Z[^.]+$' THEN (CASE WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') ~ '^(urn:uuid:)?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(?:-?[0-9a-f]{4}){7}[}])$' THEN regexp_replace(NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), '^urn:uuid:|[{}-]', '', 'g')::uuid::text WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') IS NOT NULL THEN (((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C") END) END) = (((r."parent_run_id")::text) COLLATE "C")))) THEN (CASE WHEN (((r."dotted_order")::text) COLLATE "C") ~ '^([0-9]{8}T[0-9]{12}Z[^.]+[.])*[0-9]{8}T[0-9]{12}Z[^.]+$' THEN (CASE WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') ~ '^(urn:uuid:)?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(?:-?[0-9a-f]{4}){7}[}])$' THEN regexp_replace(NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), '^urn:uuid:|[{}-]', '', 'g')::uuid::text WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') IS NOT NULL THEN (((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C") END) END) IS NOT NULL ELSE (((r."parent_run_id")::text) COLLATE "C") IS NOT NULL END) IS NOT TRUE)

-- lt(total_tokens, 100)
-- 1: 100
r."total_tokens"::int8 < (SELECT current_setting('export_pipeline.p1')::int8)

-- has(tags, "prod")
-- 1: prod
EXISTS (
  SELECT 1
  FROM (
    SELECT s.text, s.place
    FROM (
      SELECT CASE WHEN CASE WHEN octet_length(clean.t) - octet_length(replace(replace(clean.t, '[', ''), '{', '')) > 200 THEN COALESCE((
        SELECT max(s.depth) <= 200
        FROM (
          SELECT sum(CASE WHEN c.mark IN ('[', '{') THEN 1 ELSE -1 END) OVER (ORDER BY c.place) AS depth
          FROM string_to_table(regexp_replace(regexp_replace(clean.t, '"(?:[^"\\]|\\.)*"', '', 'g'), '[^][{}]', '', 'g'), NULL) WITH ORDINALITY AS c(mark, place)
        ) AS s
      ), true) ELSE true END AND pg_input_is_valid(clean.t, 'json') THEN clean.t::json END AS value
      FROM (
        SELECT CASE WHEN strpos(raw.t, '\u0000') > 0 OR strpos(raw.t, '\ud') > 0 OR strpos(raw.t, '\uD') > 0 THEN regexp_replace(regexp_replace(replace(replace(raw.t, '\\', '\u005c'), '\u0000', '\ufffd'), '\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})', '\\ufffd', 'g'), '(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}', '\\ufffd', 'g') ELSE raw.t END AS t
        FROM (
          SELECT ((CASE jsonb_typeof(r."tags") WHEN 'number' THEN trim_scale((r."tags")::numeric)::text ELSE r."tags" #>> '{}' END))::text AS t
          OFFSET 0
        ) AS raw
        OFFSET 0
      ) AS clean
      OFFSET 0
    ) AS d, LATERAL (
      SELECT CASE json_typeof(m.value) WHEN 'string' THEN m.value #>> '{}' ELSE m.value::text END, m.place
      FROM json_array_elements(CASE WHEN json_typeof(d.value) = 'array' THEN d.value END) WITH ORDINALITY AS m(value, place)
      UNION ALL SELECT ((((CASE jsonb_typeof(r."tags") WHEN 'number' THEN trim_scale((r."tags")::numeric)::text ELSE r."tags" #>> '{}' END))::text) COLLATE "C"),
        0
      WHERE btrim(((((CASE jsonb_typeof(r."tags") WHEN 'number' THEN trim_scale((r."tags")::numeric)::text ELSE r."tags" #>> '{}' END))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b') NOT IN ('', 'null')
        AND json_typeof(d.value) IS DISTINCT FROM 'array'
    ) AS s(text, place)
  ) AS x
  WHERE x.text = (SELECT current_setting('export_pipeline.p1')::text)
)

-- and(eq(metadata_key, "user.id"), eq(metadata_value, "7"))
-- 1: user.id
-- 2: user.id
-- 3: 7
EXISTS (
  SELECT 1
  FROM (
    WITH RECURSIVE tree(key, value) AS (
      SELECT m.key, m.value
      FROM (SELECT r."extra"::text::json AS value) AS d, json_each(CASE WHEN json_typeof((CASE WHEN json_typeof(d.value) = 'object' THEN d.value END -> 'metadata')) = 'object' THEN (CASE WHEN json_typeof(d.value) = 'object' THEN d.value END -> 'metadata') END) AS m
      WHERE (m.key = (SELECT current_setting('export_pipeline.p1')::text) OR starts_with((SELECT current_setting('export_pipeline.p1')::text), m.key || '.'))
      UNION ALL SELECT c.key, c.value
      FROM tree AS t, LATERAL (
        SELECT t.key || '.' || n.key, n.value
        FROM json_each(CASE WHEN json_typeof(t.value) = 'object' THEN t.value END) AS n
        UNION ALL SELECT t.key, n.value
        FROM json_array_elements(CASE WHEN json_typeof(t.value) = 'array' THEN t.value END) AS n(value)
      ) AS c(key, value)
      WHERE length(t.key) <= 1000
        AND (c.key = (SELECT current_setting('export_pipeline.p1')::text) OR starts_with((SELECT current_setting('export_pipeline.p1')::text), c.key || '.'))
    ) SELECT w.key COLLATE "C" AS key, json_typeof(w.value) AS type, (CASE WHEN json_typeof(w.value) NOT IN ('object', 'array', 'null') THEN w.value #>> '{}' END) COLLATE "C" AS text
    FROM tree AS w
    WHERE w.key = (SELECT current_setting('export_pipeline.p1')::text)
      AND length(w.key) <= 1000
  ) AS e
  WHERE e.key = (SELECT current_setting('export_pipeline.p2')::text)
    AND (e.type = 'string' AND e.text = (SELECT current_setting('export_pipeline.p3')::text))
)

-- gt(input_value, 0.5)
-- 1: 0.5
EXISTS (
  SELECT 1
  FROM (
    WITH RECURSIVE tree(key, value) AS (
      SELECT m.key, m.value
      FROM (SELECT r."inputs"::text::json AS value) AS d, json_each(CASE WHEN json_typeof(d.value) = 'object' THEN d.value END) AS m
      WHERE true
      UNION ALL SELECT c.key, c.value
      FROM tree AS t, LATERAL (
        SELECT t.key || '.' || n.key, n.value
        FROM json_each(CASE WHEN json_typeof(t.value) = 'object' THEN t.value END) AS n
        UNION ALL SELECT t.key, n.value
        FROM json_array_elements(CASE WHEN json_typeof(t.value) = 'array' THEN t.value END) AS n(value)
      ) AS c(key, value)
      WHERE length(t.key) <= 1000
        AND true
    ) SELECT w.key COLLATE "C" AS key, json_typeof(w.value) AS type, (CASE WHEN json_typeof(w.value) NOT IN ('object', 'array', 'null') THEN w.value #>> '{}' END) COLLATE "C" AS text
    FROM tree AS w
    WHERE true
      AND length(w.key) <= 1000
  ) AS e
  WHERE (e.type = 'number' AND (CASE WHEN length(e.text) <= 1000 AND e.text ~ '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?0*[0-9]{1,3})?$' THEN (e.text)::numeric END) > (SELECT current_setting('export_pipeline.p1')::numeric))
)

-- and(eq(feedback_key, "helpful"), gte(feedback_score, 0.9))
-- 1: helpful
-- 2: 0.9
EXISTS (
  SELECT 1
  FROM (
    SELECT g.key, CASE WHEN g.text IS NULL THEN 'null' ELSE 'number' END AS type, g.text
    FROM (
      SELECT (((f."key")::text) COLLATE "C") AS key, CAST((CASE WHEN length(btrim((((f."score")::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')) <= 1000 AND btrim((((f."score")::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b') ~ '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?0*[0-9]{1,3})?$' THEN (btrim((((f."score")::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b'))::numeric END) AS text) AS text
      FROM "feedbacks" AS f
      WHERE f."run_id" = r."id"
    ) AS g
  ) AS e
  WHERE e.key = (SELECT current_setting('export_pipeline.p1')::text)
    AND (e.type = 'number' AND (CASE WHEN length(e.text) <= 1000 AND e.text ~ '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?0*[0-9]{1,3})?$' THEN (e.text)::numeric END) >= (SELECT current_setting('export_pipeline.p2')::numeric))
)

-- search("naïve")
-- 1: naïve
-- 2: na\u00efve
((strpos(lower((((r."name")::text) COLLATE "C")), (SELECT current_setting('export_pipeline.p1')::text)) > 0 OR (strpos(lower((((r."error")::text) COLLATE "C")), (SELECT current_setting('export_pipeline.p1')::text)) > 0 OR strpos(lower((((r."inputs")::text) COLLATE "C")), (SELECT current_setting('export_pipeline.p1')::text)) > 0)) OR (strpos(lower((((r."inputs")::text) COLLATE "C")), (SELECT current_setting('export_pipeline.p2')::text)) > 0 OR (strpos(lower((((r."outputs")::text) COLLATE "C")), (SELECT current_setting('export_pipeline.p1')::text)) > 0 OR strpos(lower((((r."outputs")::text) COLLATE "C")), (SELECT current_setting('export_pipeline.p2')::text)) > 0)))

-- or(not(eq(name, "a")), and(eq(error, null), eq(is_root, false)))
-- 1: a
((COALESCE((((r."name")::text) COLLATE "C"), '') = (SELECT current_setting('export_pipeline.p1')::text)) IS NOT TRUE OR (NULLIF((((r."error")::text) COLLATE "C"), '') IS NULL AND (COALESCE(r."is_root", (CASE WHEN ((CASE WHEN (((r."dotted_order")::text) COLLATE "C") ~ '^([0-9]{8}T[0-9]{12}Z[^.]+[.])*[0-9]{8}T[0-9]{12}Z[^.]+$' THEN (CASE WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') ~ '^(urn:uuid:)?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(?:-?[0-9a-f]{4}){7}[}])$' THEN regexp_replace(NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), '^urn:uuid:|[{}-]', '', 'g')::uuid::text WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') IS NOT NULL THEN (((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)$'))::text) COLLATE "C") END) END) = (((r."id")::text) COLLATE "C") AND ((((r."parent_run_id")::text) COLLATE "C") IS NULL OR ((CASE WHEN (((r."dotted_order")::text) COLLATE "C") ~ '^([0-9]{8}T[0-9]{12}Z[^.]+[.])*[0-9]{8}T[0-9]{12}Z[^.]+$' THEN (CASE WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') ~ '^(urn:uuid:)?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(?:-?[0-9a-f]{4}){7}[}])$' THEN regexp_replace(NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), '^urn:uuid:|[{}-]', '', 'g')::uuid::text WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') IS NOT NULL THEN (((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C") END) END) IS NOT NULL AND (CASE WHEN (((r."dotted_order")::text) COLLATE "C") ~ '^([0-9]{8}T[0-9]{12}Z[^.]+[.])*[0-9]{8}T[0-9]{12}Z[^.]+$' THEN (CASE WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') ~ '^(urn:uuid:)?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(?:-?[0-9a-f]{4}){7}[}])$' THEN regexp_replace(NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), '^urn:uuid:|[{}-]', '', 'g')::uuid::text WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') IS NOT NULL THEN (((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C") END) END) = (((r."parent_run_id")::text) COLLATE "C")))) THEN (CASE WHEN (((r."dotted_order")::text) COLLATE "C") ~ '^([0-9]{8}T[0-9]{12}Z[^.]+[.])*[0-9]{8}T[0-9]{12}Z[^.]+$' THEN (CASE WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') ~ '^(urn:uuid:)?([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}|[{][0-9a-f]{4}(?:-?[0-9a-f]{4}){7}[}])$' THEN regexp_replace(NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), ''), '^urn:uuid:|[{}-]', '', 'g')::uuid::text WHEN NULLIF(lower(btrim((((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C"), E'\x20\x09\x0d\x0a\x0c\x0b')), '') IS NOT NULL THEN (((substring((((r."dotted_order")::text) COLLATE "C") FROM '[0-9]{8}T[0-9]{12}Z([^.]+)[.][^.]+$'))::text) COLLATE "C") END) END) IS NOT NULL ELSE (((r."parent_run_id")::text) COLLATE "C") IS NOT NULL END) IS NOT TRUE)) IS NOT TRUE))
