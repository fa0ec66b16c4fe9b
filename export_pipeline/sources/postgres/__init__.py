"""Trace stores in PostgreSQL: sessions over ADBC, their locks and snapshots, its words for queries, its errors."""
