"""PostgreSQL: connections, statements, migrations, logins."""
