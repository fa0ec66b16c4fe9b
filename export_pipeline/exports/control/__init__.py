"""The control database: reaching it, its transactions and column types, its tables, its rows as records.

Not what the rows mean: that is each other folder's own.
"""
