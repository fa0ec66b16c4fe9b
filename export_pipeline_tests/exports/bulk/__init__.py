"""Tests of bulk exports."""
