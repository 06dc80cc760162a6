"""Storage of one object: a SQLite file, transactions over it, key-value and SQL access."""
