"""A proxy that plays faults between the product and an S3 server, and its tests."""
