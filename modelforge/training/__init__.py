"""From a recipe to a run: `run.py` is the whole pipeline, top to bottom."""
