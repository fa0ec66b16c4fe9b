"""Tests of the Run schema and the transform."""
