"""A local cluster made of the real Kubernetes components, for the tests and the demo."""
