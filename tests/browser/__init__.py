"""The real app in a real Chromium: `pytest -m browser`."""
