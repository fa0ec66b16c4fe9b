"""Tests of what stores behind an API share."""
