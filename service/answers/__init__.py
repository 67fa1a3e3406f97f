"""Answers under way, and how they end."""
