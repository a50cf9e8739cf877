"""TinyDB made durable: records of datasets, runs and models in one atomically replaced file."""
