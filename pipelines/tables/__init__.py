"""Operations on tables that several stages share: `arrow` (batches and columns, without Spark), `frames` (Spark), and
`components` (the connected components of a table of pairs)."""
