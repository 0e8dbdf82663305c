"""The decoders, one for each file format, and the list of formats."""
