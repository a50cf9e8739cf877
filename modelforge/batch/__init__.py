"""A file of prompts in, the same rows with an answer each out; answered side by side, continued after a kill."""
