"""The places where a run's stages execute: each starts, checks, watches and stops Spark stages and rings of ranks.

Read in this order: `settings` (the kinds of places, and the fields of each), `place` (what a place can do), `local` and
`cluster` (the places), `spark` and `rings` (the commands of spark-submit, horovodrun and torchrun), `checks` and
`shared` (what is looked at before the work), `process` and `warden` (a process that ends with all that it started).
"""
