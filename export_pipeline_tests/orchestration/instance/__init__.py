"""Tests of what belongs to a Dagster instance."""
