"""What is computed, on record: the keys of plans (keys.json). `python -m tests.golden` records anew."""
