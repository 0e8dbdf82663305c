"""Duplicates: the same picture more than once.

Finding the pairs: `exact` (equal pixels, equal hashes), `hamming` and `hash_search` (close hashes, without Spark),
`search_plan` (the number of tables and bits of a search), `hash_files` and `search_tasks` (the search in Spark), `near`
(all of them). Comparing two pictures: `signatures` (pixels, hashes, thumbnails), `residual` (the second look).
Resolving the groups: `members` (the pictures to decide on), `case` (the same as arrays), `keepers` and `elect` (the
kept picture of each group, the name that stays), `verdicts` (both, in memory), `groups` (the same in Spark).
"""
