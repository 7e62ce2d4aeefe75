"""Kind `visualize`: images made for a representation, and the numbers beside them."""
