"""Every kind of job: its parameters, in a file by what it is about. `spec.jobs` has the list of them."""
