"""Tests of projects, standing exports, planning, changes, verifying, recovering and status."""
