"""What was asked and how far it is: the control database, publishing a day, projects, bulk exports, proof.

A folder each. How rows are read, files look and a bucket is spoken to belongs to the rooms below; Dagster, HTTP and the
command line to those above.
"""
