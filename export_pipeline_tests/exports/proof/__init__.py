"""Tests of what a bucket proves."""
