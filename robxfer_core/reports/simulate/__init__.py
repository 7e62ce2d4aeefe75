"""The report of simulations: excess risk by eps, and log-log slopes."""
