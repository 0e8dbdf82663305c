"""Raw images to a dataset. Read in the order of the data: records, manifest, sources, pixels, hashing, faces, ingest,
clean, dedup, identity, split, align, shard."""
