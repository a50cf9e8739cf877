"""The queue: admission, the service, the worker, and the events of each run."""
