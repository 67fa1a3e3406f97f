"""The database: tenants, conversations, usage."""
