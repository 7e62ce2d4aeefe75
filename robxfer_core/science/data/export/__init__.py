"""Data sets in formats that other software reads."""
