"""Measures what the product promises about memory and time; `make bench` runs it.

Figures of different machines say nothing about each other: compare within one run. Nothing here is a test.
"""
