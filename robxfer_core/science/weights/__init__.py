"""Weights that others trained: found in their files, mapped to a network's names, and checked."""
