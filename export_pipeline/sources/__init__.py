"""Where runs are read: the `RunSource` protocol, and SQL trace stores (SQLite, PostgreSQL) behind it."""
