"""From shards to the batches of one rank.

Read in this order: `order` (which rows, pure), `reader` (row groups through petastorm), `decode` and `augment` (one
picture), `batch` (rows to batches), `prefetch` (ahead of the consumer), `feed` (all of it together).
"""

from training.feed.batch import Batch, DualBatch
from training.feed.feed import Feed, FeedSettings

__all__ = ["Batch", "DualBatch", "Feed", "FeedSettings"]
