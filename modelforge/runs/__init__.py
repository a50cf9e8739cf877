"""The queue: what may start, the service, the one worker, and the events of each run."""
