"""Publishes the runs of LLM traces as Parquet in a bucket, a whole day at a time, through Dagster."""
