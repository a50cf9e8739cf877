"""The Dataset tab: opens a file and shows its verdict, mapping, problems, fixes and preview."""
