from tests.controller.store.databases import cluster, database, database_url, sqlite

__all__ = ["cluster", "database", "database_url", "sqlite"]
