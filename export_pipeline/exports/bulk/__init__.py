"""Bulk exports: asked for once or every n hours, planned as units of one project and UTC day each, and worked off.

Which units go into which Dagster run is decided in `planner`, a pure function; Dagster itself is not known here.
"""
