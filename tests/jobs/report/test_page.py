"""The page is read back by html.parser, as a browser would."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from jobs.report.contents import Made
from jobs.report.page import build_report
from jobs.report.section import Body, Figure, Section
from jobs.report.sections.table import SECTIONS
from pipelines import manifest
from pipelines.settings import UserError

HOSTILE = 'a.tar"><script>alert(3)</script>'
VOID = {"meta", "img", "br", "link", "input"}


class _Page(HTMLParser):
    """Tags with attributes, the visible text, and whether all that opens is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def _full(row):
    return {"label": None, **row}


def _read(built):
    path = build_report(built.folder, built.made)
    assert path == built.folder / "report.html"
    return _Page(path.read_text())


def test_the_funnel_on_the_page_adds_up(trained):
    page = _read(trained)
    found = re.search(r"(\d+) in = (\d+) kept \+ (\d+) rejected \+ (\d+) duplicates \+ (\d+) conflicts", page.text)
    raw, *parts = map(int, found.groups())
    assert raw == sum(parts) == 22
    assert "Adds up" in page.text
    assert re.search(r"decoded 20 2 unreadable kept 12 .* train 8 val 2 test 2 trained on 8 2 epochs", page.text)


def test_the_page_says_how_near_duplicates_were_looked_for(built):
    assert (
        "by 110 tables of 23 sampled bits, which finds 99.60 % of the pairs at the largest distance"
        in _read(built).text
    )


def test_a_funnel_that_does_not_add_up_is_an_alert(trained, rebuild):
    trained.artefacts["decisions"] = rebuild("shorter", trained.rows[:-1]).artefacts["decisions"]
    page = _read(trained)
    assert "Does not add up: 22 pictures came in, 21 are kept" in page.text
    assert "Adds up" not in page.text


def test_pictures_are_embedded_and_described(trained):
    images = _read(trained).all("img")
    # 3 blurred ones, the 4 of the duplicate group, 2 in conflict; two more cannot be read.
    assert len(images) == 9
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in images)
    faults = [tag["aria-label"] for tag in _read(trained).all("div") if tag.get("class") == "broken"]
    assert sorted(fault.split(":")[0] for fault in faults) == ["not_an_image", "truncated"]


def test_every_drawing_is_described(trained):
    drawings = _read(trained).all("svg")
    assert len(drawings) == 6
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)


def test_nothing_is_loaded_and_nothing_runs(trained):
    page = _read(trained)
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:").startswith("data:")
        assert attrs.get("href", "#").startswith("#")
        assert "url(" not in attrs.get("style", "")
    text = (trained.folder / "report.html").read_text()
    assert "@import" not in text
    assert "url(" not in text


def test_hostile_names_are_shown_and_not_obeyed(trained):
    page = _read(trained)
    assert page.all("script") == []
    hostile = [image for image in page.all("img") if "<script>alert(1)</script>" in image["alt"]]
    assert len(hostile) == 1
    assert 'cid "><script>alert(1)</script>' in page.text


def test_headline_result_and_lineage_are_on_the_page(trained):
    text = _read(trained).text
    for expected in ("87.50 % ± 1.25 %, 2 folds", "0.9321", "images/s 321 20.0 %", "too few pairs", "1 min 01 s",
                     "f00d", "d3c1", "lr: 0.1", "Verification on 40 pairs of somewhere.",
                     "fold threshold 1 0.2500 2 not measurable"):  # fmt: skip
        assert expected in text


def test_damaged_pictures_are_counted_on_the_page_where_there_are_any(trained):
    assert "bad pictures" not in _read(trained).text
    path = trained.folder / "metrics.jsonl"
    rows = [{"step": step, "bad_rows": bad_rows} for step, bad_rows in ((5, 3), (10, 2))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "bad pictures 3" in _read(trained).text


def test_a_rejected_picture_shows_its_value_and_the_limit(trained):
    text = _read(trained).text
    for expected in ("blur 12.5 < 30", "blur 29.99 < 30", "blur unknown"):
        assert expected in text


def test_what_predicts_the_label_is_marked_and_what_is_unknown_is_no_row(built, rebuild):
    kept = [row for row in built.rows if row["status"] == "kept"]
    for number, row in enumerate(kept):
        row |= {"identity": "ann" if number < 6 else "bob <b>", "blur": 100.0 + number, "num_bytes": 5 + number % 2}
    text = _read(rebuild("clues", kept)).text
    assert re.search(r"Measurement .* num bytes 0\.0 % 5\.5 ann 5\.5 ann blur \d+\.\d % predicts the label", text)
    assert "102 ann 108 bob <b>" in text
    assert "brightness" not in text


def test_rounds_stand_side_by_side_where_there_are_two(trained, rebuild, evaluate):
    assert "since the previous round" not in _read(trained).text
    fewer = [
        row | ({"status": "rejected", "reason": "outlier"} if row["label"] == 0 else {})
        for row in map(_full, trained.rows)
    ]
    second = {"decisions": rebuild("second", fewer).artefacts["decisions"], "evaluation": evaluate("again", 0.95)}
    made = [*trained.made, *(Made(f"{kind}-2", folder, round=2) for kind, folder in second.items())]
    path = build_report(trained.folder, made)
    text = _Page(path.read_text()).text
    assert re.search(r"1 12 0 accuracy 87\.50 % ± 1\.25 %, area under ROC 0\.9321", text)
    assert re.search(r"2 8 outlier \+4 0 accuracy 95\.00 % ± 1\.25 %", text)


def test_identities_that_may_be_one_person_are_shown(trained, score):
    trained.artefacts["scores"] = score([("ann", "copy", 3.91)], [])
    assert "3.9 standard deviations, cosine 0.50, not merged" in _read(trained).text


def test_the_records_of_earlier_deliveries_count_as_this_runs_own(trained, rebuild):
    more = rebuild("more", trained.rows[:5])
    records, *others = trained.made
    both = Made(records.stage, records.folder, earlier=(more.artefacts["records"],))
    path = build_report(trained.folder, [both, *others])
    assert "27 pictures came in, 22 are kept" in _Page(path.read_text()).text


def test_broken_parts_of_the_source_are_listed_where_there_are_any(trained):
    assert "Broken and passed over" not in _read(trained).text
    part = {"container": HOSTILE, "offset": 123456, "num_bytes": 2048, "reason": "bad_header"}
    folder = trained.artefacts["records"]
    told = manifest.read(folder)
    counts = {"broken_parts": 3, "broken_bytes": 5120, "passed_over": 1200, "passed_over:dangling_links": 1200}
    facts = {"broken": [part], "passed_over": {"dangling_links": [HOSTILE]}}
    manifest.write(folder, told.model_copy(update={"counts": counts, "facts": facts}))
    text = _read(trained).text
    assert "3 parts of its containers, 5 KiB in all" in text
    assert f"{HOSTILE} 123,456 2,048 bad header" in text
    assert "and 2 more" in text
    assert f"dangling links 1,200 {HOSTILE}" in text


@pytest.mark.parametrize(
    ("kinds", "pending"),
    [
        ((), ["Ingest", "Curation", "Curation", "Training", "Evaluation"]),
        (("records",), ["Curation", "Curation", "Curation", "Training", "Evaluation"]),
        (("records", "decisions", "dataset"), ["Training", "Evaluation"]),
    ],
)
def test_what_was_not_run_is_shown_as_such(built, kinds, pending):
    built.artefacts = {kind: built.artefacts[kind] for kind in kinds}
    assert re.findall(r"(\w+) has not been run yet", _read(built).text) == pending


def test_the_same_run_gives_the_same_page(trained):
    first = build_report(trained.folder, trained.made).read_bytes()
    assert build_report(trained.folder, trained.made).read_bytes() == first


def test_a_folder_that_is_no_artefact_is_the_users_error(built):
    (built.artefacts["decisions"] / "manifest.json").unlink()
    with pytest.raises(UserError, match="no finished artefact"):
        build_report(built.folder, built.made)


def test_a_section_that_nobody_knew_registers_with_one_line(trained, tmp_path):
    template = tmp_path / "weather.html"
    template.write_text("<p>It was {{ weather }} over {{ num_rows | count }} pictures.</p>")

    def build(contents):
        num_rows = sum(contents.newest("records").count_by(["decode"]).values())
        return Body({"weather": "<b>sunny</b>", "num_rows": num_rows * 100}, (Figure("weather", "fair", "all day"),))

    weather = Section("weather", "The weather", template, build, link="Weather")
    path = build_report(trained.folder, trained.made, sections=(*SECTIONS, weather))
    text = _Page(path.read_text()).text
    assert text.endswith("The weather It was <b>sunny</b> over 2,200 pictures.")
    assert "Lineage Weather" in text
    assert "weather fair all day" in text


def test_a_section_with_nothing_to_show_is_left_out_of_page_and_navigation(trained, tmp_path):
    nothing = Section("nothing", "Nothing at all", tmp_path / "no such template", lambda contents: None, link="Nothing")
    path = build_report(trained.folder, trained.made, sections=(*SECTIONS, nothing))
    assert "Nothing" not in _Page(path.read_text()).text


def test_every_link_of_the_navigation_leads_to_a_section(trained):
    page = _read(trained)
    links = [anchor["href"].removeprefix("#") for anchor in page.all("a")]
    assert links == ["funnel", "gallery", "identities", "training", "evaluation", "lineage"]
    assert set(links) <= {section["id"] for section in page.all("section")}


def test_building_a_report_imports_no_torch_and_no_spark(trained):
    script = (
        "import json, sys; from pathlib import Path; import jobs.report.__main__; "
        "from jobs.report.page import build_report; "
        "from jobs.report.contents import Made; "
        "build_report(Path(sys.argv[1]), [Made(kind, Path(at)) for kind, at in json.loads(sys.argv[2]).items()]); "
        "print(sorted({'torch', 'pyspark', 'horovod', 'petastorm'} & sys.modules.keys()))"
    )
    artefacts = json.dumps({kind: str(folder) for kind, folder in trained.artefacts.items()})
    command = [sys.executable, "-c", script, str(trained.folder), artefacts]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
