"""The rules of the verdict, at their borders."""

import pytest

from explain.evaluation import Evaluation, Figures, Sample
from explain.verdict import advantages, is_win, judge
from tests.explain.evaluations import MEASURES, control, found, one_each, wins


@pytest.mark.parametrize(
    ("won", "pointing", "level"),
    [
        (MEASURES, [0.9, 0.9, 0.8, 0.9], "strong"),
        (MEASURES, [0.2, 0.3, 0.2, 0.3], "some"),
        (MEASURES, None, "some"),  # nothing says that it finds the class
        (("insertion", "road"), [0.9, 0.9, 0.8, 0.9], "some"),
        (("insertion",), [0.9, 0.9, 0.8, 0.9], "weak"),
        (("road",), None, "weak"),
        ((), [0.2, 0.3, 0.2, 0.3], "none"),
        ((), None, "none"),
    ],
)
def test_the_number_of_measures_won_gives_the_level(won, pointing, level):
    assert judge(found(wins(*won), pointing)).level == level


def test_the_sentence_names_the_photos_the_method_and_what_was_won():
    said = judge(found(wins("road"), [0.9, 0.9, 0.8, 0.9]))
    assert said.sentence == (
        "On these 5 photos Grad-CAM beats the controls on 2 of 4 measures (ROAD, right photo of four): "
        "treat it as weak evidence."
    )
    assert said.word == "Weak evidence"
    none = judge(found(wins()))
    assert (
        none.sentence
        == "On these 5 photos Grad-CAM beats the controls on none of 3 measures: do not treat it as evidence."
    )
    assert "on all 4 measures (" in judge(found(wins(*MEASURES), [0.9] * 4)).sentence


@pytest.mark.parametrize(("correlation", "level"), [(0.79, "strong"), (0.8, "none"), (1.0, "none")])
def test_a_map_that_shuffled_weights_leave_the_same_is_refused_whatever_it_wins(correlation, level):
    said = judge(found(wins(*MEASURES), [0.9] * 4, correlation))
    assert said.level == level
    assert ("it shows the photo, not the model" in said.sentence) == (level == "none")


def test_one_photo_decides_nothing_but_a_map_that_shows_the_photo_is_refused_on_one():
    said = judge(found(wins(*MEASURES, photos=1)))
    assert (said.level, said.word) == ("open", "Too few photos")
    assert said.sentence.startswith(
        "One photo decides nothing: on it Grad-CAM is ahead of the controls on all 3 measures"
    )
    assert judge(found(wins(*MEASURES, photos=1), correlation=0.9)).level == "none"


@pytest.mark.parametrize(("photos", "level"), [(2, "weak"), (4, "weak"), (5, "strong")])
def test_few_photos_give_weak_evidence_at_most(photos, level):
    said = judge(found(wins(*MEASURES, photos=photos), [0.9] * 4))
    assert said.level == level
    assert ("so few photos decide little" in said.sentence) == (photos < 5)
    assert judge(found(wins(photos=photos))).level == "none"


def test_a_win_is_more_than_two_standard_errors_and_at_least_a_hundredth():
    assert not is_win([0.1, 0.0, 0.1, 0.1, 0.0, -0.1])  # mean 1/30, standard error 1/30: one of them is too little
    spread = [0.1, -0.1, 0.1, -0.1]  # standard error 0.0577
    assert is_win([0.116 + value for value in spread])  # 2.01 of them
    assert not is_win([0.115 + value for value in spread])  # 1.99
    assert is_win([0.0101] * 5)
    assert not is_win([0.0099] * 5)  # the same for all, but nothing to a person
    assert not is_win([-0.2] * 5)


def test_each_measure_is_compared_photo_by_photo_with_the_control_that_does_best_on_it():
    own = Figures(one_each([0.6, 0.8]), one_each([0.2, 0.4]), one_each([0.1, 0.3]))
    random = Figures(
        Sample(((0.1, 0.3), (0.2, 0.2))), Sample(((0.7, 0.9), (0.6, 0.6))), Sample(((0.0, 0.1), (0.2, 0.4)))
    )
    centre, edges = control(2, insertion=0.5, deletion=0.5), control(2, insertion=0.4, deletion=0.1)
    figures = {"grad_cam": own, "random": random, "centre": centre, "edges": edges}
    gains = advantages(Evaluation(figures, one_each([0.25, 0.5, 0.0, 1.0]), one_each([0.0, 0.0])))
    assert gains["insertion"] == pytest.approx([0.1, 0.3])  # centre
    assert gains["deletion"] == pytest.approx([-0.1, -0.3])  # edges; less is better
    assert gains["road"] == pytest.approx([0.05, 0.0])  # random, with the mean of its draws
    assert gains["pointing"] == pytest.approx([0, 0.25, -0.25, 0.75])
