"""What is computed, on record: keys of plans (keys.json), and results of every kind at toy size (results.json).

`python -m tests.golden` records anew.
"""

RULE = "whoever changes what a recipe computes must raise its RECIPE and record anew with `python -m tests.golden`"
