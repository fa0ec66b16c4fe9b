"""Tests of projects, their tables and days."""
