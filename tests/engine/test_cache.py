"""A look that was answered is answered again without the device."""

import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from engine import EngineError, Job, LocalEngine, Looks, Photo, Request, zerogpu
from engine.cache import Answers
from tests.engine.jobs import RED, Spaces, photo, time_it

NAME = "resnet20_cifar"
ASKED = Job("look", Request(NAME), (photo(RED),))
BLUE = photo(Image.new("RGB", (300, 200), (40, 40, 200)))


class Counted:
    """An engine, and how many images went through its model."""

    def __init__(self):
        self.engine, self.images = LocalEngine(), 0
        self.engine.store.get(NAME).register_forward_hook(self._count)

    def _count(self, model, inputs, output):
        self.images += len(output)

    def perform(self, job):
        """The answer, and the images that it took."""
        before = self.images
        return self.engine.perform(job), self.images - before


@pytest.fixture
def ran():
    return Counted()


def test_the_same_look_is_answered_without_the_model(ran):
    first, took = ran.perform(ASKED)
    assert took == 2  # the guesses, and the map
    again, took = ran.perform(ASKED)
    assert took == 0
    assert np.array_equal(again.photos[0].map.values, first.photos[0].map.values)
    assert again.photos[0].photo == first.photos[0].photo
    assert again.photos[0].guesses == first.photos[0].guesses


def test_the_name_of_a_file_does_not_matter(ran):
    ran.perform(ASKED)
    assert ran.perform(replace(ASKED, photos=(Photo("other.png", ASKED.photos[0].data),)))[1] == 0


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, photos=(BLUE,)),
        replace(ASKED, photos=(*ASKED.photos, BLUE)),
        replace(ASKED, photos=(BLUE, *ASKED.photos)),
        *(
            replace(ASKED, request=Request(NAME, **change))
            for change in (
                {"method": "hires_cam"},
                {"target": "3"},
                {"contrast": "4"},
                {"layer": "stage1"},
                {"signed": True},
                {"together": True},
                {"clicked": (0, (0.5, 0.5))},
            )
        ),
    ],
)
def test_another_look_is_computed(ran, other):
    ran.perform(ASKED)
    _, took = ran.perform(other)
    assert took == 2 * len(other.photos)


def test_the_order_of_photos_matters(ran):
    both = ran.perform(replace(ASKED, photos=(*ASKED.photos, BLUE)))[0].photos
    turned = ran.perform(replace(ASKED, photos=(BLUE, *ASKED.photos)))[0].photos
    assert [look.photo for look in turned] == [look.photo for look in reversed(both)]


def test_a_changed_answer_does_not_change_the_kept_one(ran):
    first, _ = ran.perform(ASKED)
    kept = first.photos[0].map.values.copy()
    for _ in range(2):
        answer, _ = ran.perform(ASKED)
        assert np.array_equal(answer.photos[0].map.values, kept)
        answer.photos[0].map.values[:] = 7.0
        answer.photos[0].notes.append("changed")
    assert "changed" not in ran.perform(ASKED)[0].photos[0].notes


def test_a_refusal_names_its_file_so_it_is_not_kept(ran):
    for name in ("one.png", "other.png"):
        answer, _ = ran.perform(replace(ASKED, photos=(Photo(name, b"no photo"),)))
        assert f"'{name}'" in answer.photos[0]


def test_two_at_the_same_time_compute_once(ran):
    answers, begun = [], threading.Barrier(2)

    def ask():
        begun.wait(10)
        answers.append(ran.engine.perform(ASKED))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    with ran.engine.schedule.turn(ASKED.priority, lambda ahead: None):
        for thread in threads:
            thread.start()
        while len(ran.engine.schedule._waiting) < 2:
            pass
    for thread in threads:
        thread.join(10)
    assert len(answers) == 2
    assert ran.images == 2


def test_answers_are_dropped_when_the_weights_may_have_changed(ran):
    other = replace(ASKED, request=Request("resnet32_cifar"))
    ran.engine.perform(other)
    ran.perform(ASKED)
    held = ran.engine.answers.held
    ran.engine.store.clear()
    time_it(NAME, 0.1, ran.engine)  # loads the model anew
    assert ran.engine.answers.get(ran.engine.answers.key(ASKED)) is None
    assert isinstance(ran.engine.answers.get(ran.engine.answers.key(other)), Looks)
    assert 0 < ran.engine.answers.held < held


def test_an_error_is_not_kept(ran):
    wrong = replace(ASKED, request=Request(NAME, target="1000000"))
    for _ in range(2):
        with pytest.raises(EngineError, match="no class"):
            ran.engine.perform(wrong)
    assert ran.engine.answers.held == 0


def looks(size):
    """An answer of a bit more than `size` bytes, and a job that it belongs to."""
    answer = LocalEngine().perform(ASKED)
    return Looks((replace(answer.photos[0], probabilities=np.zeros(size // 4, np.float32)),))


def job(number):
    return Job("look", Request(NAME, target=str(number)), ASKED.photos)


def test_the_bound_holds_and_the_least_recently_used_goes_first():
    answer = looks(100_000)
    size = len(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))
    answers = Answers(limit=3 * size)
    keys = [answers.key(job(i)) for i in range(4)]
    for key in keys[:3]:
        answers.put(key, answer)
    assert answers.held == 3 * size
    answers.put(keys[1], answer)  # again: not counted twice
    assert answers.held == 3 * size
    assert answers.get(keys[0]) is not None
    answers.put(keys[3], answer)
    assert answers.held == 3 * size
    assert [answers.get(key) is None for key in keys] == [False, False, True, False]


def test_an_answer_larger_than_the_bound_is_not_kept():
    answer = looks(100_000)
    answers = Answers(limit=50_000)
    answers.put(answers.key(ASKED), answer)
    assert answers.held == 0
    assert answers.get(answers.key(ASKED)) is None


def test_many_threads_keep_the_count():
    answer, answers = looks(10_000), Answers(limit=200_000)

    def use(start):
        for i in range(start, start + 40):
            answers.put(answers.key(job(i % 30)), answer)
            answers.get(answers.key(job(i % 7)))
            if i % 10 == 0:
                answers.forget("nothing")

    threads = [threading.Thread(target=use, args=(n,)) for n in range(0, 40, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers.held == sum(map(len, answers._kept.values())) <= 200_000


def test_on_zerogpu_the_answer_is_kept_by_the_process_that_lends(monkeypatch):
    calls = []

    class Counting(Spaces):
        @staticmethod
        def GPU(duration):  # noqa: N802
            def count(function):
                lend = Spaces.GPU(duration)(function)
                return lambda asked: calls.append(asked) or lend(asked)

            return count

    monkeypatch.setattr(zerogpu, "spaces", Counting)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    ran = LocalEngine()
    first, again = ran.perform(ASKED), ran.perform(ASKED)
    assert calls == [ASKED]
    assert np.array_equal(first.photos[0].map.values, again.photos[0].map.values)
    ran.perform(Job("time", ASKED.request))
    ran.perform(Job("time", ASKED.request))
    assert len(calls) == 2
