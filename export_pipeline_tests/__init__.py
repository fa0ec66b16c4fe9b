"""Tests of export_pipeline."""
