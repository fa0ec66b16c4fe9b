"""Stored destinations: checked, encrypted, rotated, opened."""
