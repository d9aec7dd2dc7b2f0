import re
from html.parser import HTMLParser

import pandas as pd
import pytest

import _synthetic
from scident import io
from scident.aggregate import collect
from scident.report import cards, figures, render, style
from scident.report.view import Tables
from scident.stages import aggregate, report

CASES = {
    "truth": ({}, "some"),
    "blind": ({"truth": False, "replicates": 1, "seeds": 3, "split": "iid"}, "none"),
    "dead": ({"replicates": 2}, "all"),
    "released": ({"protocol": "released", "grid": True}, "some"),
}
VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr"}


def written(folder, case):
    options, fail = CASES[case]
    plan = _synthetic.plan(**options)
    _synthetic.tree(folder, plan, fail=fail)
    aggregate.run(plan, folder, folder / "aggregate")
    report.run(plan, folder / "aggregate", folder / "report")
    return folder / "report"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {case: written(tmp_path_factory.mktemp(case), case) for case in CASES}


@pytest.fixture(params=list(CASES))
def page(request, folders):
    return (folders[request.param] / "index.html").read_text()


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.ids, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for key, value in attrs if key == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))

    def handle_data(self, data):
        self.text.append(data)


def parsed(page):
    reader = Balance()
    reader.feed(page)
    return reader


def words(page):
    return " ".join(" ".join(parsed(page).text).split())


def test_report_loads_nothing_from_outside(page):
    loads = re.findall(r"""(?:src|href)=["']([^"']*)["']|url\(([^)]*)\)|@import\s+(\S+)""", page)
    targets = [next(part for part in found if part).strip("'\"") for found in loads if any(found)]
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)
    assert "<script" not in page


def test_report_is_balanced_html(page):
    reader = parsed(page)
    assert reader.wrong == []
    assert reader.open == []


def test_report_has_each_id_once(page):
    ids = parsed(page).ids
    assert sorted({name for name in ids if ids.count(name) > 1}) == []


def test_report_links_lead_somewhere(page):
    ids = set(parsed(page).ids)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids


def test_report_names_every_model_and_metric(page):
    text = words(page)
    labels = [label for label, _, _ in _synthetic.MODELS.values()]
    labels += [metric["label"] for metric in _synthetic.METRICS.values()]
    assert [label for label in labels if label not in text] == []


def test_report_says_who_is_best_and_how_sure_that_is(folders):
    text = words((folders["truth"] / "index.html").read_text())
    assert "sVAE+ has the highest MCC (Pearson): 0.80 [0.78, 0.83]" in text
    assert "best, provisionally" in text
    assert "separated from each of the other 4 methods and baselines" in text
    assert "floor 0.43 (Label only); ceiling 0.98" in text


def test_report_sets_only_the_separated_best_in_bold(folders):
    tables = (folders["truth"] / "index.html").read_text().split('<div id="scores-')[1:]
    rows = re.findall(r"<tr>(.*?)</tr>", tables[0].split("</table>")[0], flags=re.DOTALL)
    assert {"sVAE+" in row for row in rows if "<b>" in row} == {True}
    blind = (folders["blind"] / "index.html").read_text().split('<div id="scores-')[1]
    assert "<b>" not in blind.split("</table>")[0]


def test_report_shows_every_failure_with_its_reason(folders):
    text = words((folders["truth"] / "index.html").read_text())
    assert "nonfinite_latents NaN or infinity in latents r1.s1" in text
    assert "killed the job was stopped from outside or left nothing readable all 10" in text
    assert "9/10 ok" in text


def test_report_without_failures_says_none(folders):
    text = words((folders["blind"] / "index.html").read_text())
    assert "None: every job ended well" in text


def test_report_without_truth_ranks_nothing(folders):
    text = words((folders["blind"] / "index.html").read_text())
    assert "no ranking claim" in text
    assert "Seeds only" in text
    assert "highest" not in text
    assert "separated from" not in text


def test_models_without_any_score_are_named_with_the_reason_and_have_no_row(folders):
    page = (folders["blind"] / "index.html").read_text()
    named = re.search(r"Without any score here: (.*?)</p>", page)[1]
    assert "the dataset comes without true latents" in named
    label = re.search(r"<b>([^<,]+)", named)[1]
    assert label not in page[page.index("All scores</h3>") : page.index("Without any score here")]


def test_report_of_failures_alone_says_so(folders):
    text = words((folders["dead"] / "index.html").read_text())
    assert "No method has a result here" in text
    assert "highest" not in text


def test_report_of_the_released_protocol_is_labelled_legacy(folders):
    text = words((folders["released"] / "index.html").read_text())
    assert "legacy" in text
    assert "Target F1 ↑ corrected Target F1 ↑ released" in text.replace("\u00a0", " ")
    assert "val_nelbo" in text


def test_report_escapes_names(folders):
    page = (folders["blind"] / "index.html").read_text()
    assert "<THP-1>" not in page
    assert "&lt;THP-1&gt;" in page


def test_report_shows_likelihoods_before_those_after_fitting(folders):
    place = "sparse-shift-unseen_perturbation"
    for case, fitted in (("truth", "finetuned_half"), ("released", "finetuned_insample")):
        page = (folders[case] / "index.html").read_text()
        table = words(page.split(f'<div id="scores-{place}-ood"')[1].split("</table>")[0]).replace("\u00a0", " ")
        assert f"IWELBO ↑ zero_shot IWELBO ↑ {fitted}" in table
        assert f'id="{place}-heldout"' in page
        assert ("as published code does (optimistic)" in words(page)) is (case == "released")
    assert "-heldout" not in (folders["dead"] / "index.html").read_text()


def test_report_says_which_model_is_scored_before_fitting_and_what_moves_while_fitting(folders):
    for case in ("truth", "released"):
        text = words((folders[case] / "index.html").read_text())
        assert "not the model whose latents are scored above but what a second training" in text
        assert ("the running statistics of the encoder move" in text) is (case == "released")
        assert ("nothing else moves" in text) is (case == "truth")


def test_report_shows_the_choice_of_the_grid_point_where_there_is_one(folders):
    page = (folders["released"] / "index.html").read_text()
    assert "Choosing the penalty" in words(page)
    assert page.count('<div id="grid-') == 1
    assert "Compare it with what the grid spans" in words(page)
    for case in ("truth", "blind", "dead"):
        assert "Choosing" not in words((folders[case] / "index.html").read_text())


def test_report_writes_tables_and_figures(folders):
    tables = {path.name for path in (folders["released"] / "tables").iterdir()}
    names = ("summary", "ranks", "selected", "grid", "differences", "costs", "failures")
    assert tables == {f"{name}.csv" for name in names}
    assert "grid-sparse-shift-unseen_perturbation-svae_plus.svg" in {
        path.name for path in (folders["released"] / "figures").iterdir()
    }
    figures = sorted(path.name for path in (folders["truth"] / "figures").iterdir())
    place = "sparse-shift-unseen_perturbation"
    assert f"headline-{place}-iid.svg" in figures
    assert f"headline-{place}-ood.svg" in figures
    assert f"targets-{place}-svae_plus.svg" in figures
    assert f"curves-{place}-val_nelbo.svg" in figures
    assert not [name for name in figures if name.startswith("grid-") or "retrain" in name]


def test_report_is_equal_twice(tmp_path, folders):
    again = written(tmp_path, "truth")
    assert (again / "index.html").read_bytes() == (folders["truth"] / "index.html").read_bytes()
    for path in (folders["truth"] / "figures").iterdir():
        assert (again / "figures" / path.name).read_bytes() == path.read_bytes()


def test_figures_keep_text_as_text_and_carry_no_date(folders):
    svg = (folders["truth"] / "figures" / "headline-sparse-shift-unseen_perturbation-iid.svg").read_text()
    assert ">sVAE+</text>" in svg
    assert "<metadata" not in svg
    assert style.ROLE_COLOURS["method"] in svg


def test_target_matrices_show_the_selected_grid_point(tmp_path):
    plan = _synthetic.plan(grid=True, replicates=2)
    _synthetic.tree(tmp_path, plan, fail="none")
    aligned = collect.collect_aligned(plan, tmp_path)
    aligned = aligned[aligned["model"] == "svae_plus"]
    chosen = {0: "penalty=100", 1: "penalty=10"}
    selected = pd.DataFrame({"model": "svae_plus", "replicate": list(chosen), "grid_point": list(chosen.values())})
    drawn = figures.target_matrices(aligned, selected, plan, "t")[-1]
    for point, same in (("penalty=100", True), ("penalty=10", False)):
        alone = figures.target_matrices(aligned[aligned["grid_point"] == point], selected.assign(grid_point=point),
                                        plan, "t")[-1]  # fmt: skip
        assert (drawn == alone) is same


def test_report_says_what_the_models_are_and_repeats_their_notes(folders):
    page = (folders["truth"] / "index.html").read_text()
    text = words(page)
    assert "What the models are" in text
    assert "sVAE+ penalty fixed, tuned elsewhere method component what sVAE+ assumes negative binomial" in text
    assert page.count("<b>sVAE+</b>: penalty fixed, tuned elsewhere") == 2
    assert "<b>VAE</b>: " not in page


def test_report_without_declared_models_has_no_cards(tmp_path):
    plan = _synthetic.plan(replicates=1)
    for model in plan["models"].values():
        del model["assumes"]
    assert cards.model_table(plan) is None


def test_report_shows_both_spreads_of_the_headline(folders):
    page = (folders["truth"] / "index.html").read_text()
    summary = pd.read_csv(folders["truth"] / "tables" / "summary.csv")
    row = summary.query("model == 'pca' and metric == 'mcc_pearson' and scope == 'iid'").iloc[0]
    cells = words(page.split('<div id="spread-')[1].split("</table>")[0])
    assert f"PCA {row['sd_units']:.3f} {row['sd_seeds']:.3f}" in cells


def test_report_of_one_split_says_what_it_is_conditional_on(folders):
    assert "conditional on this split" in words((folders["truth"] / "index.html").read_text())
    plan = _synthetic.plan(replicates=1)
    plan["splits"]["other"] = plan["splits"]["unseen_perturbation"]
    plan["runs"] += [run | {"split": "other"} for run in plan["runs"]]
    empty = Tables(**{name: io.empty_table(name) for name in Tables.__dataclass_fields__})
    assert "conditional on this split" not in render.report(plan, empty).html


def test_report_prints_the_share_of_empty_target_sets(folders):
    assert "mask 12% empty" in words((folders["blind"] / "index.html").read_text())


def test_report_names_the_versions_of_the_plan(folders):
    assert "with scident 0.1.0, numpy 2.4.6." in words((folders["truth"] / "index.html").read_text())


def test_report_without_truth_and_seed_scores_claims_no_agreement(tmp_path):
    plan = _synthetic.plan(truth=False, replicates=2)
    plan["metrics"] = {name: m for name, m in plan["metrics"].items() if m["over"] == "member"}
    _synthetic.tree(tmp_path, plan, fail="none")
    aggregate.run(plan, tmp_path, tmp_path / "aggregate")
    report.run(plan, tmp_path / "aggregate", tmp_path / "report")
    text = words((tmp_path / "report" / "index.html").read_text())
    assert "Negative ELBO says neither that nor whether two trainings agree" in text
    assert "How do the models compare?" in text
    assert "perfect agreement" not in text
