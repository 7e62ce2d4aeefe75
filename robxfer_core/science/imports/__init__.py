"""Uploads: files of anybody's making, read here and nowhere else, in a process that can do no harm."""
