"""Names for priorities. Larger is sooner; any whole number from -100 to 100 will do."""

LOW = -50
NORMAL = 0
HIGH = 50
CRITICAL = 100
