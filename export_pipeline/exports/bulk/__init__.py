"""Bulk exports: asked for once or every n hours, planned as units of one project and UTC day each, and worked off."""
