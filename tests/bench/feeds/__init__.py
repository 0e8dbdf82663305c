"""What the bench of the feed is made of: data (the pictures), clock (how it is timed), ours and peers (who is timed), ranks
and memory."""
