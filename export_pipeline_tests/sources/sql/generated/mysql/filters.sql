-- eq(id, "0190cccc-0000-7000-8000-000000000001")
1 = 1

-- neq(name, "draft")
1 = 1

-- like(error, "%timed out%")
1 = 1

-- in(run_type, ["llm", "tool"])
1 = 1

-- eq(status, "error")
1 = 1

-- gt(end_time, "2026-03-14T12:00:00Z")
1 = 1

-- lte(latency, "2.5s")
1 = 1

-- eq(is_root, true)
1 = 1

-- lt(total_tokens, 100)
1 = 1

-- has(tags, "prod")
1 = 1

-- and(eq(metadata_key, "user.id"), eq(metadata_value, "7"))
1 = 1

-- gt(input_value, 0.5)
1 = 1

-- and(eq(feedback_key, "helpful"), gte(feedback_score, 0.9))
1 = 1

-- search("naïve")
1 = 1

-- or(not(eq(name, "a")), and(eq(error, null), eq(is_root, false)))
1 = 1
