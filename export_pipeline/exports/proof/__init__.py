"""What a bucket proves: its manifests, verifying, recovering, the list of changes, what readers are told.

Reads what publishing has written, and trusts none of it; nothing here commits a day.
"""
