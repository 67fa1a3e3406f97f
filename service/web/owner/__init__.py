"""The owner's pages and what they ask the service, behind STUDIO_TOKEN."""
