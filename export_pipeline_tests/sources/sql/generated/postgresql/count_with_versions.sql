SELECT count(*), CASE WHEN max(r."modified_at") >= timestamptz '10000-01-01 00:00:00+00' THEN timestamptz '10000-01-01 00:00:00+00' WHEN max(r."modified_at") < timestamptz '0001-12-31 00:00:00+00 BC' THEN timestamptz '0001-12-31 00:00:00+00 BC' ELSE max(r."modified_at") END,
  (
    SELECT count(*)
    FROM "runs" AS r
    WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
      AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
      AND r."start_time" >= timestamptz '2026-03-14 00:00:00+00'
      AND r."start_time" < timestamptz '2026-03-15 00:00:00+00'
  ), NULL
FROM "runs" AS r
WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
  AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
  AND r."start_time" >= timestamptz '2026-03-14 00:00:00+00'
  AND r."start_time" < timestamptz '2026-03-15 00:00:00+00'
  AND (r."id" IS NULL OR (r.tableoid, r.ctid) IN (
    SELECT v."key 0", v."key 1"
    FROM (
      SELECT r.tableoid AS "key 0", r.ctid AS "key 1", row_number() OVER (PARTITION BY r."id" ORDER BY COALESCE(r."modified_at", '-infinity'::timestamptz) DESC, COALESCE(r."start_time", '-infinity'::timestamptz) DESC, r.tableoid DESC, r.ctid DESC) AS "export pipeline version"
      FROM "runs" AS r
      WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
        AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
        AND r."id" IN (
          SELECT r."id"
          FROM "runs" AS r
          WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
            AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
            AND r."start_time" >= timestamptz '2026-03-14 00:00:00+00'
            AND r."start_time" < timestamptz '2026-03-15 00:00:00+00'
        )
    ) AS v
    WHERE v."export pipeline version" = 1
  ));
SELECT count(*), NULL
FROM "runs" AS r
JOIN "feedbacks" AS f ON f."run_id" = r."id"
WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
  AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
  AND r."start_time" >= timestamptz '2026-03-14 00:00:00+00'
  AND r."start_time" < timestamptz '2026-03-15 00:00:00+00'
  AND (r."id" IS NULL OR (r.tableoid, r.ctid) IN (
    SELECT v."key 0", v."key 1"
    FROM (
      SELECT r.tableoid AS "key 0", r.ctid AS "key 1", row_number() OVER (PARTITION BY r."id" ORDER BY COALESCE(r."modified_at", '-infinity'::timestamptz) DESC, COALESCE(r."start_time", '-infinity'::timestamptz) DESC, r.tableoid DESC, r.ctid DESC) AS "export pipeline version"
      FROM "runs" AS r
      WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
        AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
        AND r."id" IN (
          SELECT r."id"
          FROM "runs" AS r
          WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
            AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
            AND r."start_time" >= timestamptz '2026-03-14 00:00:00+00'
            AND r."start_time" < timestamptz '2026-03-15 00:00:00+00'
        )
    ) AS v
    WHERE v."export pipeline version" = 1
  ));
