"""llama.cpp as the engine that answers: its process, its files, and the one that is loaded."""
