"""Aids for testing code that runs on several ranks: this project's tests use them, and those of its users may."""
