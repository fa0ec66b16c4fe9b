"""Tests of the project as a whole: documents, lock, wheel, start-up."""
