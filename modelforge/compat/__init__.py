"""Everything that reaches into a library: one file for each, with its private names, replaced functions and reasons.

Every name here has a test in tests/compat that fails when the library changes. No other file of the package uses a
private name of a library (tests/compat/test_private_names.py).
"""
