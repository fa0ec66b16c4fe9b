"""Publishing a day: the commit protocol, from the claim to the finished commit.

`publish` and `publish_days` are the ways in; `docs/commit-protocol.md` says what they promise. Which days are to be
published is decided in `projects` and `bulk`.
"""
