"""The Models tab: the library of finished models and their evaluation."""
