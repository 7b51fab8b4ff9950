"""A steady load of real requests, and what is done to the cluster meanwhile: none of them may fail."""
