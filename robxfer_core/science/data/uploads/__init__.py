"""Uploads: files of anybody's making, read here and nowhere else, in a process that is told no secret.

That process is the worker's user all the same, and can read what files that user can. So nothing is unpickled, run or
written to a name of the upload's own: what is hostile must not come to run code at all.
"""
