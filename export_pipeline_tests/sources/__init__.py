"""Tests of the trace stores: SQLite and PostgreSQL from the same tables of cases."""
