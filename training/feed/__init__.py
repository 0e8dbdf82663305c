"""From shards to the batches of one rank.

Read in this order: `order` (which rows, pure), `location` and `shards` (where they lie), `reader` (row groups through
petastorm), `decode` and `augment` (one picture), `batch` (rows to batches), `prefetch` (ahead of the consumer), `feed`
(all of it together). What goes wrong on the way is borne by `retry` (faults that pass) and `bad_rows`; `cache` and
`keep` hold row groups nearer; `quality` says how well an epoch is shuffled.
"""

from training.feed.batch import Batch
from training.feed.feed import Feed, FeedSettings

__all__ = ["Batch", "Feed", "FeedSettings"]
