"""What tenants' webhooks are told: where they are, how it is signed, sent and tried again."""
