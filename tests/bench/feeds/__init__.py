"""Parts of the bench of the feed: data (the pictures), clock (how it is timed), ours, peers (who is), ranks, memory."""
