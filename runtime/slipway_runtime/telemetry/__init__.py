"""What can be seen of the requests from outside: counts, times, lines in the log, traces."""
