"""`make bench`: how fast ModelForge is, as figures beside a named rival of the same run, each with a target.

`figures` says what a figure is, `results` compares with those of the last release, `processes` runs what is measured;
every other file measures some rows of the table. Nothing here is a test.
"""
