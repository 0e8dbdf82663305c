"""Verification: pairs of pictures, their embeddings, and the figures made of them.

Read in this order: `pairs` (the data type), `pairs_txt`, `pair_pack` and `val_pairs` (sources of pairs), `embed`
(pictures to embeddings, over all ranks), `verification` (embeddings to figures). `training.tasks` joins them.
"""
