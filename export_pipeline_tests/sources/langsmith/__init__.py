"""LangSmith as a trace store, against a stand-in of its API."""
