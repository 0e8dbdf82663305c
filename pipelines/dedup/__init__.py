"""The same picture more than once. Read in order: exact (equal pixels, equal hashes), search (close hashes,
without Spark), plan (how to search), hashes and tasks (the same in Spark), near (the pairs), groups (components, and
who stands behind whom)."""
