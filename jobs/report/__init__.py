"""A run as one HTML page that needs nothing but a browser.

Read in this order: `artefact` (what is read of Parquet, and how little), `contents` (the run and all that its stages
made), `section` (one part of the page), `sections/` (each part: one file, one template and one line of the table in
`sections/table`), `page` (all of it together, through `page.html`). `charts`, `tiles` and `formats` turn numbers,
pictures and quantities into what a template shows; `selection` and `kept` choose rows of the decisions.
"""
