"""The report of the study `which_eps`: which robustness level to use for a data set."""
