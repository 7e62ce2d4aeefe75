"""The report of the study `component_visualization`."""
