"""Measures of a representation on a data set: usefulness, CKA, LEEP, LogME, nearest neighbours."""
