"""Where files go: the S3 client, multipart uploads, the destination check, the classes of S3 errors."""
