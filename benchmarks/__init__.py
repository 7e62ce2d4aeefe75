"""Speed, measured: `make bench`, or `python -m benchmarks NAME...`; a JSON line for each figure, never a test."""
