"""A first load in a process of its own: it ends with what it learned, and its libraries end with it."""
