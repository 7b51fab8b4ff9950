"""The runtime: serves one artifact. Importing this package imports nothing else, so `contract` stays light."""
