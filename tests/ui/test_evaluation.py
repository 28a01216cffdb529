"""What the page says of an evaluation."""

import re
from dataclasses import replace

from explain.evaluation import Sample
from explain.verdict import judge
from tests.explain.evaluations import MEASURES, found, wins
from ui.evaluation import evaluation

PHOTOS = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "<i>.jpg"]
FOUND = found(wins("road"), [0.9, 0.9, 0.8, 0.6])


def test_the_verdict_comes_first_then_the_table_then_what_it_was_measured_on():
    html = evaluation(FOUND, "resnet50", "grad_cam", PHOTOS)
    said = judge(FOUND)
    assert html.startswith(f'<div class="evaluation"><p class="verdict"><b>{said.word}.</b> {said.sentence}</p>')
    assert html.index("</table>") < html.index("Measured on: 5 photos (a.jpg, ")
    assert "resnet50, Grad-CAM; 4 draws of the random map for each photo" in html


def test_the_table_has_a_row_a_map_and_says_which_way_is_better():
    html = evaluation(FOUND, "resnet50", "grad_cam", PHOTOS)
    heads = re.findall(r'<th scope="col">(.*?)</th>', html)
    assert heads == [
        "Map",
        "Insertion <small>higher is better</small>",
        "Deletion <small>lower is better</small>",
        "ROAD <small>higher is better</small>",
        "Right photo of four <small>higher is better; chance is 25 %</small>",
    ]
    rows = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)[1:]]
    assert rows[0] == ["<b>Grad-CAM</b>", "0.500 ± 0.000", "0.500 ± 0.000", "+0.100 ± 0.000", "80 ± 14 %"]
    assert [row[0] for row in rows[1:]] == ["Random map", "Centre of the photo", "Edges of the photo"]
    assert [row[4] for row in rows[1:]] == ["", "", ""]  # a quarter by arithmetic is not shown as measured
    for measure in ("Insertion", "Deletion", "ROAD", "Right photo of four"):
        assert f"<li><b>{measure}</b> (" in html  # and what it is, without hovering


def test_names_are_escaped_and_photos_that_cannot_be_read_are_told():
    html = evaluation(FOUND, "<b>model", "grad_cam", [*PHOTOS, "broken.jpg"])
    assert "<i>" not in html
    assert "&lt;b&gt;model" in html
    assert "Measured on: 5 of 6 photos (" in html
    assert "broken.jpg; the others cannot be read)" in html


def test_without_pointing_its_column_is_left_out_and_the_page_says_why():
    html = evaluation(found(wins(*MEASURES)), "resnet50", "grad_cam", PHOTOS)
    assert "Right photo of four" not in html
    assert "With photos of four classes" in html
    assert "does not depend on a class" in evaluation(found(wins(), method="rollout"), "vit", "rollout", PHOTOS)


def test_the_page_says_whether_the_map_depends_on_the_weights_and_a_single_photo_has_no_spread():
    html = evaluation(found(wins(*MEASURES), correlation=-0.13), "resnet50", "grad_cam", PHOTOS)
    assert "The maps depend on the weights" in html
    assert "correlation of \N{MINUS SIGN}0.13" in html
    one = evaluation(found(wins(*MEASURES, photos=1), correlation=0.9), "resnet50", "grad_cam", ["a.jpg"])
    assert "The maps hardly depend on the weights" in one
    assert "<td>0.600</td>" in one
    assert "Measured on: 1 photo (a.jpg)" in one
    tiny = replace(FOUND.figures["random"], road=Sample(((-0.0001,),)))
    assert "<td>+0.000</td>" in evaluation(
        replace(FOUND, figures=FOUND.figures | {"random": tiny}), "resnet50", "grad_cam", PHOTOS
    )
    negative = replace(FOUND.figures["random"], road=Sample(((-0.25,),)))
    assert "<td>\N{MINUS SIGN}0.250</td>" in evaluation(
        replace(FOUND, figures=FOUND.figures | {"random": negative}), "resnet50", "grad_cam", PHOTOS
    )
