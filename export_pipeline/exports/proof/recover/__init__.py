"""Rebuilding the control database's records from the manifests of a bucket."""
