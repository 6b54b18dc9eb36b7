"""Who calls, in which roles, and how often."""
