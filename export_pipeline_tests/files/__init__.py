"""The files of a day: paths, Parquet, content hash, manifest."""
