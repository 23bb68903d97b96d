"""The SQLite engine: one file, no server, several processes."""
