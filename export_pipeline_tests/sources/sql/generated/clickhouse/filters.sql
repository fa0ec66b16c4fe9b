-- eq(id, "0190cccc-0000-7000-8000-000000000001")
(COALESCE(position(replaceAll(lower(toString(r.`id`)), '-', ''), '0190cccc000070008000000000000001') > 0, false))

-- neq(name, "draft")
1 = 1

-- like(error, "%timed out%")
1 = 1

-- in(run_type, ["llm", "tool"])
(COALESCE(position(lower(r.`run_type`), unhex('6c6c6d')) > 0, false) OR COALESCE(position(lower(r.`run_type`), unhex('746f6f6c')) > 0, false))

-- eq(status, "error")
(COALESCE(position(lower(r.`status`), unhex('6572726f72')) > 0, false) OR COALESCE(match(COALESCE(r.`status`, ''), '^[ \\t\\r\\n\\f\\v]*$'), false))

-- gt(end_time, "2026-03-14T12:00:00Z")
(COALESCE(toUnixTimestamp64Micro(toDateTime64(r.`end_time`, 6, 'UTC')) > 1773489600000000, false))

-- lte(latency, "2.5s")
1 = 1

-- eq(is_root, true)
1 = 1

-- lt(total_tokens, 100)
(COALESCE(r.`total_tokens` < 100, false))

-- has(tags, "prod")
1 = 1

-- and(eq(metadata_key, "user.id"), eq(metadata_value, "7"))
(COALESCE((COALESCE(position(r.`extra`, unhex('37')) > 0, false) OR COALESCE(position(r.`extra`, '\\') > 0, false)), false))

-- gt(input_value, 0.5)
1 = 1

-- and(eq(feedback_key, "helpful"), gte(feedback_score, 0.9))
1 = 1

-- search("naïve")
(COALESCE(position(lower(r.`name`), unhex('6e615c75303065667665')) > 0, false) OR COALESCE(position(lower(r.`name`), unhex('6e61c3af7665')) > 0, false) OR COALESCE(position(lower(r.`error`), unhex('6e615c75303065667665')) > 0, false) OR COALESCE(position(lower(r.`error`), unhex('6e61c3af7665')) > 0, false) OR COALESCE(position(lower(r.`inputs`), unhex('6e615c75303065667665')) > 0, false) OR COALESCE(position(lower(r.`inputs`), unhex('6e61c3af7665')) > 0, false) OR COALESCE(position(lower(r.`outputs`), unhex('6e615c75303065667665')) > 0, false) OR COALESCE(position(lower(r.`outputs`), unhex('6e61c3af7665')) > 0, false))

-- or(not(eq(name, "a")), and(eq(error, null), eq(is_root, false)))
1 = 1
