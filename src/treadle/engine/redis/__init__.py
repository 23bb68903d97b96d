"""Redis 7 and Valkey 8, or newer: one script per verb, all keys of a namespace in one hash slot."""
