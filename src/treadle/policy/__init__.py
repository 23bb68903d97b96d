"""Pure functions from values to values: when to retry, what to claim next. No I/O, no clock, no engine."""
