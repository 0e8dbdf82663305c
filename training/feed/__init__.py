"""The feed: from the shards of a dataset to the batches of one rank.

Read in this order: `plans` (the rows of each step, pure), `location` and `shards` (row groups), `reader` (row groups
through petastorm), `decode`, `augment`, `geometry` and `paint` (pictures), `columns` (other columns), `batch`, `blocks`
and `assemble` (rows to batches), `prefetch` and `device` (ahead of the consumer), `feed` (all of it together). `where`
chooses rows, `retry` repeats reads after transient faults, `bad_rows` replaces damaged rows, `cache` and `in_memory`
keep row groups close, `quality` measures how well an epoch is shuffled.
"""
