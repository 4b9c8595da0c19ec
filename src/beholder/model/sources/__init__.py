"""What people have: each module reads one form of a model into a `Source`, which `importing` writes.

`find` says which form a file or a folder has.
"""
