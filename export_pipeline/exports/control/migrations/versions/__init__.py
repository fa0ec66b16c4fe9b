"""One module per schema version, numbered 0001, 0002, …; a published one is never changed."""
