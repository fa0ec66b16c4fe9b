"""Projects: whose they are, the standing table of each, which of its days are to be exported or have changed."""
