"""From a URI to a verified file on this machine."""
