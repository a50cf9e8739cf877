"""A file of prompts in, the same rows with an answer each out: read, answered side by side, and continued after a kill."""
