"""The words of the house: states, jobs, outcomes, filters, errors. No I/O, no clock, no third-party import."""
