"""The API's types. Pure data: nothing here reads a clock, a cluster or a file."""
