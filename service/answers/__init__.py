"""Answers in progress, and how they end."""
