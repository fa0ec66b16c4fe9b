"""Dagster as its users use it: command line, daemon and web server as processes, the UI in a browser."""
