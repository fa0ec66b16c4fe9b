"""Tests of verifying an export."""
