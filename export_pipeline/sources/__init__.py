"""Where runs are read: what every trace store must be able to do, the mapping of its columns, a folder for each kind.

`sql` is what databases share; `postgres` and `sqlite` are databases. A further database, or an API, is a folder more.
"""
