"""What SQL trace stores share, on each of the databases in turn."""
