"""What belongs to a Dagster instance: its run launcher, its event log, its records of runs."""
