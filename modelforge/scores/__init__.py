"""Numbers from texts: metrics and rewards. No models are loaded here."""
