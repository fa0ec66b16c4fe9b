"""Statements for other systems, run where the system can be had."""
