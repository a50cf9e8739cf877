"""Finished models: the library, chat, the card, the way to the Hub."""
