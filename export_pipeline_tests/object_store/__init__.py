"""The bucket: endpoint rules, S3 calls, uploads, the destination check, error classes."""
