SELECT count(*), CASE WHEN max(r."modified_at") >= timestamptz '10000-01-01 00:00:00+00' THEN timestamptz '10000-01-01 00:00:00+00' WHEN max(r."modified_at") < timestamptz '0001-12-31 00:00:00+00 BC' THEN timestamptz '0001-12-31 00:00:00+00 BC' ELSE max(r."modified_at") END,
  NULL, NULL
FROM "runs" AS r
WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
  AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
  AND r."start_time" >= timestamptz '2026-03-14 00:00:00+00'
  AND r."start_time" < timestamptz '2026-03-15 00:00:00+00';
SELECT count(*), NULL
FROM "runs" AS r
JOIN "feedbacks" AS f ON f."run_id" = r."id"
WHERE r."session_id" = current_setting('export_pipeline.project')::uuid
  AND (r."tenant_id" = '0190bbbb-0000-7000-8000-000000000001'::uuid OR (COALESCE((r."tenant_id")::text, '') = ''))
  AND r."start_time" >= timestamptz '2026-03-14 00:00:00+00'
  AND r."start_time" < timestamptz '2026-03-15 00:00:00+00';
