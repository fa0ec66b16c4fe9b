"""The embedded set-up: a local S3 server, sample traces, the demo."""
