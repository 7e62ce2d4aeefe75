"""What the HTTP interface takes in queries and answers, as models that the API and its client share."""
