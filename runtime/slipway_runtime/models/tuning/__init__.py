"""At load: the fastest way to run a model on this machine, among those that answer as the archive does."""
