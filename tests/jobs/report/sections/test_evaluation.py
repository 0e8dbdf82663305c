"""Results are written by hand."""

from jobs.report.contents import Made, read_contents
from jobs.report.page import build_report
from jobs.report.sections.evaluation import build, result_charts
from training.tasks.result import ChartData, Result, Series


def _result(*charts):
    return Result(kind="verification", about="", figures={}, headline=(), charts=charts)


def _line(label, x):
    return Series(label=label, x=x, y=x)


def _chart(*lines, **values):
    return ChartData(title="ROC", x_label="x", y_label="y", series=lines, **values)


def _page(built, made):
    return " ".join(build_report(built.folder, made).read_text().split())


def test_a_chart_shows_the_points_that_its_axis_has_a_place_for():
    assert result_charts({"lfw": _result(_chart(_line("a", (0, 0)), x_axis="log"))}) == []
    (log,) = result_charts({"lfw": _result(_chart(_line("a", (0, 0.01, 1)), x_axis="log", y_top=1.0))})
    assert (log.title, log.description) == ("ROC", "ROC by x: a from 0.01 to 1")
    (linear,) = result_charts({"lfw": _result(_chart(_line("a", (0, 0.01, 1))))})
    assert linear.description == "ROC by x: a from 0 to 1"


def test_charts_of_one_title_are_one_chart_with_a_line_for_each_set():
    one, two = _chart(_line("a", (0, 1))), _chart(_line("a", (0, 1)), _line("b", (0, 1)))
    (chart,) = result_charts({"lfw": _result(one), "cfp": _result(two)})
    assert [line.name for line in chart.lines] == ["lfw", "cfp, a", "cfp, b"]


def test_sets_stand_side_by_side(trained, evaluate):
    sets = [Made(f"evaluate.{name}", evaluate(name, at), instance=name) for name, at in (("lfw", 0.9), ("cfp", 0.8))]
    made = [one for one in trained.made if one.stage != "evaluate"] + sets
    figures = build(read_contents(trained.folder, made)).figures
    assert [(one.label, one.value) for one in figures] == [("accuracy, lfw", "90.00 %"), ("accuracy, cfp", "80.00 %")]
    text = _page(trained, made)
    assert '<th></th><th class="number">lfw</th><th class="number">cfp</th>' in text
    assert text.index("90.00 % ± 1.25 %<small>2 folds</small>") < text.index("80.00 % ± 1.25 %<small>2 folds</small>")
    assert "cfp: folds" in text


def test_a_figure_that_a_set_lacks_is_an_empty_cell(trained, evaluate):
    lfw, cfp = (Made(name, evaluate(name, 0.9), instance=name) for name in ("lfw", "cfp"))
    path = cfp.folder / "result.json"
    whole = Result.model_validate_json(path.read_bytes())
    path.write_bytes(whole.model_copy(update={"figures": {"accuracy": whole.figures["accuracy"]}}).encoded())
    path.write_bytes(path.read_bytes().replace(b'"auc"', b'"accuracy"'))
    text = _page(trained, [lfw, cfp])
    assert 'Area under ROC</th> <td class="number">0.9321<small>40 pairs</small></td> <td class="number"></td>' in text


def test_the_evaluations_of_the_last_round_count(trained, evaluate):
    second = Made("evaluate-2", evaluate("again", 0.95), round=2)
    body = build(read_contents(trained.folder, [*trained.made, second]))
    assert [result.value("accuracy") for result in body.values["results"].values()] == [0.95]
