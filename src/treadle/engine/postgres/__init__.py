"""PostgreSQL: the store that any number of machines share, inside the transactions of the user if wanted."""
