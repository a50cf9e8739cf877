"""The Dataset tab: a file in; verdict, mapping, problems, repairs and preview out."""
