"""What can be chosen, and what goes together: declarations only."""
