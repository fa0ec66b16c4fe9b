"""What SQL trace stores share: the plan of columns, the queries, filters, sessions and the check.

What only one database says or does lies in that database's folder, never here.
"""
