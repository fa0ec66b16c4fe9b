"""LangSmith as a trace store, through its API."""
