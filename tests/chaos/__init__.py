"""Seeded disorder on a real API server: what users, strangers and machines do to an operator at the same time."""
