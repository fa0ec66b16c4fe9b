"""Tests of publishing a day."""
