"""The reference engine: every verb over plain dicts and sorted lists, in one process, surviving nothing."""
