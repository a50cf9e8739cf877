"""A model behind OpenAI's API, for programs that know how to talk to that."""
