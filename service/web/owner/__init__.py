"""The owner's pages and their API, behind STUDIO_TOKEN."""
