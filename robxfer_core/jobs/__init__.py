"""Kinds of job: the parameters of each, what is known of its result in advance, and how it is computed."""
