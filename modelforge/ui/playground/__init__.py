"""The Playground tab: chat, summaries, or answers found in a text."""
