"""Sample traces and the stores that they are written to."""
