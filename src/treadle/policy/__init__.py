"""Pure rules, from values to values: durations and retries. Time and randomness are handed in."""
