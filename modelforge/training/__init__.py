"""From a recipe to a run: `run.py` is the whole pipeline, `worker.py` the queue that takes runs one at a time."""
