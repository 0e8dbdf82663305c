"""Sizes are those of the files."""

import re

from jobs.report.contents import Made, read_contents
from jobs.report.page import build_report
from jobs.report.sections.lineage import build, origins


def test_each_artefact_names_its_parents_and_size(built):
    (output,) = read_contents(built.folder, [one for one in built.made if one.stage == "shard"]).outputs
    (origin,) = origins([output])
    assert origin.parents == {"decisions": "d3c1"}
    assert origin.num_bytes == sum(path.stat().st_size for path in output.artefact.folder.rglob("*.parquet"))


def test_two_artefacts_of_one_kind_are_told_apart_by_their_stages(trained):
    pruned = Made("prune", trained.artefacts["model"])
    values = build(read_contents(trained.folder, [*trained.made, pruned])).values
    assert [origin.stage for origin in values["origins"] if origin.kind == "model"] == ["train", "prune"]
    assert re.search(r"train\s+model .*prune\s+model", text_of(build_report(trained.folder, [*trained.made, pruned])))


def text_of(page):
    return re.sub(r"<[^>]*>", " ", page.read_text()).replace("\n", " ")
