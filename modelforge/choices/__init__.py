"""Methods, tunings, and which task, method, tuning and architecture go together: declarations, no training."""
