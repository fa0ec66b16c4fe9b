"""Tests of days that change in the trace store after they were exported."""
