"""What the benchmarks of whole servers share: servers to start, and lean clients."""
