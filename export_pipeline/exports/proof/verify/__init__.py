"""Verifying an export: what its bucket holds, read back and compared with manifests, records and the trace store."""
