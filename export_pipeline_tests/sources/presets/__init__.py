"""Tests of the mappings of known stores."""
