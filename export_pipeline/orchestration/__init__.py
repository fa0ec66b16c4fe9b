"""The Dagster layer, a file or folder for each of Dagster's concepts; `build` puts them together.

Thin: what is decided is decided in `exports`, which knows no Dagster.
"""
