"""Dagster's sensors, a file each; what they decide is decided by pure functions or in `exports`."""
