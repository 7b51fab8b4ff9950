"""From a spec to manifests. Pure: no clock, no cluster, no file."""
