"""The same picture more than once.

Which pictures are alike, in this order: exact (equal pixels, equal hashes), hamming and search (close hashes, without
Spark), plan (how to search), hashes and tasks (the same in Spark), near (the pairs). What becomes of them: components
(which hang together), members (what there is to decide on), keep and elect (who stands behind whom, whose name stays),
verdicts (both, in memory), groups (the same in Spark).
"""
