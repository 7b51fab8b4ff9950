"""What the tool says when it cannot go on; the command line prints it and ends with code 2."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """Says where it failed, what was found there and what to do about it."""


class RequirementError(ClusterError):
    """This machine lacks something that its user can add; tests that need the cluster are skipped with the text."""
