"""Tests of the embedded set-up."""
