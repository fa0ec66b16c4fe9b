"""Tests of rebuilding records from a bucket."""
