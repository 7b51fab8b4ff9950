"""The two ports: requests in, answers out."""
