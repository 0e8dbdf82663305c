"""How good a model is at telling people apart.

Read in this order: `pairs` (what is compared), `pairs_txt`, `pair_pack` and `val_pairs` (where pairs come from),
`embed` (pictures to embeddings, over all ranks), `verification` (embeddings to figures). `training.tasks` joins them.
"""
