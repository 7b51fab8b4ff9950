"""A discrete-event simulator that referees batching policies: ours and re-implementations of others."""
