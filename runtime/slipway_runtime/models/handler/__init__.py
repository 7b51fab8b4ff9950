"""Python handlers: code that comes as the artifact and is run as the model."""
