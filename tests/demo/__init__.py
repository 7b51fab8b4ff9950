"""`make demo`: from nothing to a prediction on a real Kubernetes node."""
