"""The report: what the exhibits wrote, as one page for people. Imports no backend."""
