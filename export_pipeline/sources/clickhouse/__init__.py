"""Trace stores in ClickHouse, over HTTP: sessions, a day as one SELECT, its words for queries, its errors."""
