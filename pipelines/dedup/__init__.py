"""The same picture more than once. Read in order: bands (which hashes to compare), near (verified pairs), groups
(components, and who stands behind whom)."""
