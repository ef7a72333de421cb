"""Runs migrations on a connection that the caller has opened, inside the caller's transaction.

The caller is controller.store.migrate. It hands over the connection and the metadata through
`config.attributes`: a URL in a configuration file would put passwords where `%` is magic.
"""

from alembic import context

connection = context.config.attributes["connection"]

context.configure(
    connection=connection,
    target_metadata=context.config.attributes["metadata"],
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    compare_server_default=True,
)
context.run_migrations()
