"""Storage: a dozen verbs as plans, the sessions that drive them, and the engines beside each other."""
