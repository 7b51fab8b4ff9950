"""What the operator costs at thousands of ModelDeployments, measured against its budgets on a real API server."""
