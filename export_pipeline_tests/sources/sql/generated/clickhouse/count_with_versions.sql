SELECT (intDiv(toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')) - (-62135596800000000), 86400000000) - 719162) AS `day`,
  if(r.`export pipeline version` = 1 OR r.`id` IS NULL, 1, 0) AS `kept`, count(*), maxOrNull(toUnixTimestamp64Micro(toDateTime64(r.`modified_at`, 6, 'UTC'))),
  CAST(NULL AS Nullable(Int64)), sum(k.records), maxOrNull(k.newest)
FROM (
  SELECT r.`id`, r.`session_id`, r.`start_time`, r.`tenant_id`, r.`modified_at`, r.`session_id`, r.`parent_run_id`,
    r.`name`, r.`run_type`, r.`end_time`, r.`status`, r.`is_root`, r.`dotted_order`, r.`tags`, r.`total_tokens`,
    r.`total_cost`, row_number() OVER (PARTITION BY COALESCE(toString(r.`id`), '') ORDER BY COALESCE(toUnixTimestamp64Micro(toDateTime64(r.`modified_at`, 6, 'UTC')), -9223372036854775807) DESC, COALESCE(toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')), -9223372036854775807) DESC, toString(r.`session_id`), toString(r.`parent_run_id`), r.`name`, r.`run_type`, concat(replaceOne(toString(toDateTime64(r.`end_time`, 6, 'UTC')), ' ', 'T'), '+00:00'), r.`status`, toString(r.`is_root`), r.`dotted_order`, r.`tags`, r.`total_tokens`, toString(r.`total_cost`)) AS `export pipeline version`
  FROM `runs` AS r
  WHERE r.`session_id` = toUUID('0190aaaa-0000-7000-8000-000000000001')
    AND (COALESCE(toString(r.`tenant_id`) = unhex('30313930626262622d303030302d373030302d383030302d303030303030303030303031'), false) OR (COALESCE(toString(r.`tenant_id`), '') = ''))
    AND r.`start_time` >= toDateTime64('2026-03-13 00:00:00.000000', 6, 'UTC')
    AND r.`start_time` < toDateTime64('2026-03-16 00:00:00.000000', 6, 'UTC')
) AS r
LEFT ANY JOIN (
  SELECT f.`export pipeline run` AS run, toInt64(count(*)) AS records, CAST(NULL AS Nullable(Int64)) AS newest
  FROM (
    SELECT f.*, toString(f.`run_id`) AS `export pipeline run`
    FROM `feedbacks` AS f
  ) AS f
  WHERE f.`export pipeline run` IN (
    SELECT toString(r.`id`)
    FROM `runs` AS r
    WHERE r.`session_id` = toUUID('0190aaaa-0000-7000-8000-000000000001')
      AND (COALESCE(toString(r.`tenant_id`) = unhex('30313930626262622d303030302d373030302d383030302d303030303030303030303031'), false) OR (COALESCE(toString(r.`tenant_id`), '') = ''))
      AND r.`start_time` >= toDateTime64('2026-03-14 00:00:00.000000', 6, 'UTC')
      AND r.`start_time` < toDateTime64('2026-03-15 00:00:00.000000', 6, 'UTC')
  )
  GROUP BY run
) AS k ON k.run = toString(r.`id`)
WHERE r.`session_id` = toUUID('0190aaaa-0000-7000-8000-000000000001')
  AND (COALESCE(toString(r.`tenant_id`) = unhex('30313930626262622d303030302d373030302d383030302d303030303030303030303031'), false) OR (COALESCE(toString(r.`tenant_id`), '') = ''))
  AND r.`start_time` >= toDateTime64('2026-03-14 00:00:00.000000', 6, 'UTC')
  AND r.`start_time` < toDateTime64('2026-03-15 00:00:00.000000', 6, 'UTC')
GROUP BY `day`, `kept`;
