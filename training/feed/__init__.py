"""From shards to the batches of one rank.

Read in this order: `order` (which rows, pure), `location` and `shards` (where they lie), `reader` (row groups through
petastorm), `decode`, `augment` and `paint` (pictures), `batch` (rows to batches), `prefetch` and `device` (ahead of
the consumer), `feed` (all of it together). `balance` and `dual` are other plans: photos of identities, and both kinds
at once; `where` chooses rows. What goes wrong on the way is borne by `retry` (faults that pass) and `bad_rows`;
`cache` and `in_memory` hold row groups nearer; `quality` says how well an epoch is shuffled.
"""
