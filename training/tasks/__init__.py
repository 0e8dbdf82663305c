"""Tasks by which a model is judged.

Read in this order: `result` (figures, charts, details), `task` (the protocol), `settings` (the sets of a run),
`pairs` and `verification` (the first task), `validation` (the same while a model is trained).
"""
