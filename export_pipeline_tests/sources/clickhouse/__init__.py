"""Tests of trace stores in ClickHouse."""
