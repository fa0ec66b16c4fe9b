"""Stores of traces that are known: a mapping for each, and how each is recognised by its tables."""
