"""What embeddings say of pictures and identities: `records.FITS`, `MERGES` and `NEIGHBOURS`; nothing is decided here.

Read `centre` first (an identity in spite of wrong pictures), then `cells` (what is worth comparing) and `search` (the
comparison). Every vector moves once for each of the two purposes: to its identity, and to its cells.
"""
