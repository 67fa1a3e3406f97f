"""Tenants' webhooks: their settings, and how events are signed, sent and retried."""
