"""The Dagster layer: assets, partitions, IO manager, jobs, resources, sensors, schedule, checks."""
