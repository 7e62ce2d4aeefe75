"""What the HTTP interface answers, as models that the API and its client share."""
