"""Rows that are the same or nearly so: `similar` finds them, from hashes of words up to groups of rows."""
