"""What a bucket proves: verifying exports, rebuilding records from manifests, the list of changes."""
