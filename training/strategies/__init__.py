"""Strategies: how the gradients of all ranks become an update. Read strategy.py (the interface), then allreduce.py."""
