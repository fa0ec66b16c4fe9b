"""How a day becomes a file: Hive paths, the Parquet writer, the manifest."""
