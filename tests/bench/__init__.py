"""`make bench`: how fast ModelForge is, as ratios against a named rival in the same run. Nothing here is asserted."""
