"""From a file to a model that predicts: what kind of file it is, what it takes, and how it is run."""
