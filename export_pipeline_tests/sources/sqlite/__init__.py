"""What only a trace store in SQLite does."""
