SELECT toString(r.`id`) AS `id out`, toString(r.`session_id`) AS `session_id out`, toString(r.`parent_run_id`) AS `parent_run_id out`,
  r.`name` AS `name out`, r.`run_type` AS `run_type out`, toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')) AS `start_time out`,
  toUnixTimestamp64Micro(toDateTime64(r.`end_time`, 6, 'UTC')) AS `end_time out`, r.`status` AS `status out`,
  r.`is_root` AS `is_root out`, if(r.`parent_run_id` IS NULL, (CASE WHEN toString(r.`id`) NOT LIKE '%.________T____________Z%' THEN concat(formatDateTime(fromUnixTimestamp64Micro(toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')), 'UTC'), '%Y%m%dT%H%i%S%f', 'UTC'), 'Z') || toString(r.`id`) END), nullIf(p.path, '')) AS `dotted_order out`,
  r.`inputs` AS `inputs out`, r.`tags` AS `tags out`, toInt64(r.`total_tokens`) AS `total_tokens out`,
  toString(r.`total_cost`) AS `total_cost out`, toUnixTimestamp64Micro(toDateTime64(r.`modified_at`, 6, 'UTC')) AS `changed`,
  k.records AS `records`, k.newest AS `newest record`
FROM `runs` AS r FINAL
LEFT ANY JOIN (
  WITH RECURSIVE up AS (
    SELECT run, above, segment AS path, 1 AS depth
    FROM (
      SELECT toString(r.`id`) AS run, COALESCE(toString(r.`parent_run_id`), '') AS above, (CASE WHEN toString(r.`id`) NOT LIKE '%.________T____________Z%' THEN concat(formatDateTime(fromUnixTimestamp64Micro(toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')), 'UTC'), '%Y%m%dT%H%i%S%f', 'UTC'), 'Z') || toString(r.`id`) END) AS segment
      FROM `runs` AS r FINAL
      WHERE r.`session_id` = toUUID('0190aaaa-0000-7000-8000-000000000001')
        AND (COALESCE(toString(r.`tenant_id`) = unhex('30313930626262622d303030302d373030302d383030302d303030303030303030303031'), false) OR (COALESCE(toString(r.`tenant_id`), '') = ''))
        AND r.`start_time` >= toDateTime64('2026-03-14 00:00:00.000000', 6, 'UTC')
        AND r.`start_time` < toDateTime64('2026-03-15 00:00:00.000000', 6, 'UTC')
        AND toString(r.`id`) IS NOT NULL
        AND (CASE WHEN toString(r.`id`) NOT LIKE '%.________T____________Z%' THEN concat(formatDateTime(fromUnixTimestamp64Micro(toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')), 'UTC'), '%Y%m%dT%H%i%S%f', 'UTC'), 'Z') || toString(r.`id`) END) IS NOT NULL
    )
    WHERE above <> ''
    UNION ALL SELECT up.run, n.above, concat(n.segment, '.', up.path), up.depth + 1
    FROM up
    JOIN (
      SELECT toString(r.`id`) AS run, COALESCE(toString(r.`parent_run_id`), '') AS above, (CASE WHEN toString(r.`id`) NOT LIKE '%.________T____________Z%' THEN concat(formatDateTime(fromUnixTimestamp64Micro(toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')), 'UTC'), '%Y%m%dT%H%i%S%f', 'UTC'), 'Z') || toString(r.`id`) END) AS segment
      FROM `runs` AS r FINAL
      WHERE r.`session_id` = toUUID('0190aaaa-0000-7000-8000-000000000001')
        AND (COALESCE(toString(r.`tenant_id`) = unhex('30313930626262622d303030302d373030302d383030302d303030303030303030303031'), false) OR (COALESCE(toString(r.`tenant_id`), '') = ''))
        AND r.`start_time` >= toDateTime64('2026-03-13 00:00:00.000000', 6, 'UTC')
        AND r.`start_time` < toDateTime64('2026-03-15 00:00:00.000000', 6, 'UTC')
        AND toString(r.`id`) IS NOT NULL
        AND (CASE WHEN toString(r.`id`) NOT LIKE '%.________T____________Z%' THEN concat(formatDateTime(fromUnixTimestamp64Micro(toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')), 'UTC'), '%Y%m%dT%H%i%S%f', 'UTC'), 'Z') || toString(r.`id`) END) IS NOT NULL
    ) AS n ON n.run = up.above
    WHERE up.depth < 256
      AND position(up.path, n.segment) = 0
  ) SELECT run, path
  FROM up
  WHERE above = ''
) AS p ON p.run = toString(r.`id`)
LEFT ANY JOIN (
  SELECT f.`export pipeline run` AS run, toInt64(count(*)) AS records, CAST(NULL AS Nullable(Int64)) AS newest
  FROM (
    SELECT f.*, toString(f.`run_id`) AS `export pipeline run`
    FROM `feedbacks` AS f
  ) AS f
  WHERE f.`export pipeline run` IN (
    SELECT toString(r.`id`)
    FROM `runs` AS r FINAL
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
ORDER BY toUnixTimestamp64Micro(toDateTime64(r.`start_time`, 6, 'UTC')), toString(r.`id`);
