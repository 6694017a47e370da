"""The database's history, one file a step; `store` brings a database up to date when it opens it."""
