SELECT (intDiv(toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')) - (-62135596800000000), 86400000000) - 719162) AS `day`,
  1 AS `kept`, count(*), maxOrNull(toUnixTimestamp64Micro(toDateTime64(r.`modified_at`, 6, 'UTC'))), CAST(NULL AS Nullable(Int64)),
  CAST(NULL AS Nullable(Int64)), CAST(NULL AS Nullable(Int64))
FROM `runs` AS r FINAL
WHERE r.`session_id` = toUUID('0190aaaa-0000-7000-8000-000000000001')
  AND (COALESCE(toString(r.`tenant_id`) = unhex('30313930626262622d303030302d373030302d383030302d303030303030303030303031'), false) OR (COALESCE(toString(r.`tenant_id`), '') = ''))
  AND r.`start_time` >= toDateTime64('2026-03-14 00:00:00.000000', 6, 'UTC')
  AND r.`start_time` < toDateTime64('2026-03-15 00:00:00.000000', 6, 'UTC')
  AND toUnixTimestamp64Micro(toDateTime64(r.`modified_at`, 6, 'UTC')) > 1773532800000000
GROUP BY `day`, `kept`;
