"""From shards to the batches of one rank.

Read in this order: `order` (which rows, pure), `reader` (row groups through petastorm), `decode` and `augment` (one
picture), `batch` (rows to batches), `prefetch` (ahead of the consumer), `feed` (all of it together). `balance` and
`dual` are other plans: photos of identities, and both kinds at once.
"""

from training.feed.batch import AnyBatch, Batch, DualBatch
from training.feed.dual import DualFeed
from training.feed.feed import Feed, FeedSettings

__all__ = ["AnyBatch", "Batch", "DualBatch", "DualFeed", "Feed", "FeedSettings"]
