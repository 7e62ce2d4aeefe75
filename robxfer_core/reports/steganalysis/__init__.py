"""The report of the study `steganalysis`: P_E by robustness of the source, beside the high-pass network's."""
