"""What a run is: the one Run schema and the pure transform of source rows into it."""
