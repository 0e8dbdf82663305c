"""Scores of pictures and identities by embeddings: `records.FITS`, `MERGES` and `NEIGHBOURS`, without decisions.

`centre` (the trimmed centre of an identity), `whiten` (whitened vectors), `cells` (blocking: only vectors of one cell
are compared), `cosine_search` (the comparisons in a cell), `passes` (these in Arrow batches), `score` (all in Spark).
"""
