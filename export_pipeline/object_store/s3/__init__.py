"""S3 and what is compatible with it: the client, the calls, what its errors mean, the check of a destination."""
