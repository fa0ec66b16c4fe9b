"""Where files go: what a store of objects must be able to do, what a destination is, how large files are uploaded.

`s3` is the first kind of store; a further one is a folder more. Nothing here knows days, manifests or exports.
"""
