"""What can be asked for: validated models, canonical JSON, keys. Knows neither torch nor any service."""
