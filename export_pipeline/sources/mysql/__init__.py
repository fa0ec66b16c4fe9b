"""Trace stores in MySQL and MariaDB: sessions, how days are streamed, its words for queries, its errors."""
