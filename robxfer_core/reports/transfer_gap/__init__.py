"""The report of the study `transfer_gap`, figure 3 of the paper."""
