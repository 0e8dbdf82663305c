"""The seam between ranks: read protocol.py first, then the implementation you run (Horovod is the default)."""
