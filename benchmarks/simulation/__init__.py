"""Clusters simulated: what a corpus takes on machines that are not at hand."""
