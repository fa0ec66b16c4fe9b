"""The control database: reaching it, its tables, its rows as records."""
