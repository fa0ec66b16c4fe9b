"""Tests of the control database and of publishing a day."""
