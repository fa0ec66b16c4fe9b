"""Langfuse Cloud as a trace store."""
