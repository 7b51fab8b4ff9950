"""The protocol's files, and what is generated of them."""
