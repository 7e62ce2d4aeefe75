"""From a spec to a graph of jobs with keys, their cost, and the effect that the design can detect."""
