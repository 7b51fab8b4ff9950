"""The operator: turns ModelDeployments into Deployments, Services and what a real service needs around them."""

__version__ = "0.1.0"
