"""The forms that examples for text generation come in, one a file."""
