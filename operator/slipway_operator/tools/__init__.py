"""Generators: what is written down once in Python becomes the CRD, the chart's copies and the reference pages."""
