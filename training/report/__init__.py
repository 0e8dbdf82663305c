"""A run as one HTML page that needs nothing but a browser.

Read in this order: `artefact` (what is read of Parquet, and how little), `funnel` (where the pictures went), `broken`
(what of the source held none), `selection` and `gallery` (which of them are shown, and how), `kept` and `variance`
(what the measurements say of the identities), `merges` (which identities may be one person), `rounds` (what each
round of curation changed), `curves` and `charts` (numbers to drawings), `lineage` (what was made of
what), `page` (all of it together, through `page.html`).
"""
