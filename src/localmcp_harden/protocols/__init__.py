"""Every block as a Protocol with its value records: what a framework author implements."""
