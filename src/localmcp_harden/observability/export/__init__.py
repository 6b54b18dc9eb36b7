"""What is observed, in the formats of other systems."""
