"""Langfuse Cloud as a trace store, through its API."""
