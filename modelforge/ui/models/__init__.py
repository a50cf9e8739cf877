"""Models tab: the library of finished models (`tab`), and their exports (`export`)."""
