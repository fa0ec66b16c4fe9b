"""Stored destinations: made, changed, opened, their credentials encrypted anew."""
