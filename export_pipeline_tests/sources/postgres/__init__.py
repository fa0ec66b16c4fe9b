"""What only a trace store in PostgreSQL does."""
