"""Tests that read whole days back from the bucket."""
