"""What trace stores that are asked over HTTP share: requests, rows, and the reading of a window in order."""
