"""The report of the study `source_modification` (the paper's figure 4b)."""
