"""Benchmarks: one file a block, ours beside its peers and a floor."""
