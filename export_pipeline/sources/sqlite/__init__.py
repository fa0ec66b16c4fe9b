"""Trace stores in SQLite files: sessions, how days are read, its words for queries, its errors."""
