"""What the speed laws are held against. `make bench` runs everything here; nothing here runs in the tests."""
