import numpy as np
import pytest

from keras_gradcam.demo import digit_scenes

pytest.importorskip("sklearn")


@pytest.fixture(scope="module", params=["train", "validation"])
def sample(request):
    return digit_scenes.make_scenes(200, seed=3, split=request.param)


def test_shapes_and_types(sample):
    images, labels, boxes = sample
    assert (images.shape, images.dtype) == ((200, 64, 64, 1), np.uint8)
    assert (labels.shape, labels.dtype) == ((200,), np.int64)
    assert (boxes.shape, boxes.dtype) == ((200, 4), np.int64)
    assert set(labels) == set(range(10))


def test_equal_seeds_give_equal_scenes_and_others_do_not():
    first, again, other = (digit_scenes.make_scenes(20, seed) for seed in (5, 5, 6))
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first[0], other[0])


def test_boxes_lie_inside_at_every_edge(sample):
    top, left, bottom, right = sample[2].T
    assert top.min() >= 0 and left.min() >= 0
    assert bottom.max() <= 64 and right.max() <= 64
    # A digit taller than two fragments, and nowhere near the whole scene.
    assert (bottom - top).min() >= 18 and (bottom - top).max() <= 36
    assert (right - left).min() >= 4 and (right - left).max() <= 36


def test_the_digit_touches_all_sides_of_its_box(sample):
    for image, box in zip(sample[0], sample[2], strict=True):
        top, left, bottom, right = box
        digit = image[top:bottom, left:right, 0]
        for side in (digit[0], digit[-1], digit[:, 0], digit[:, -1]):
            assert side.max() > 70


def test_clutter_keeps_clear_of_the_digit(sample):
    for image, box in zip(sample[0], sample[2], strict=True):
        top, left, bottom, right = box
        around = image[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2, 0]
        digit = image[top:bottom, left:right, 0]
        # The rim holds the digit's own faint edge and noise, and no ink.
        assert np.sum(around > 140) == np.sum(digit > 140)


def test_most_of_the_ink_is_clutter(sample):
    images, _, boxes = sample
    ink = (images[..., 0] > 90).sum()
    top, left, bottom, right = boxes.T
    assert ((bottom - top) * (right - left)).mean() / 64**2 < 0.2
    inside = sum(
        (image[t:b, left:r, 0] > 90).sum()
        for image, (t, left, b, r) in zip(images, boxes, strict=True)
    )
    assert 0.2 < inside / ink < 0.6


def test_the_splits_share_no_handwriting():
    train, validation = map(digit_scenes.source_digits, ("train", "validation"))
    assert len(train[0]) + len(validation[0]) == 1797
    assert len(validation[0]) == 360
    written = {digit.tobytes() for digit in train[0]}
    assert not written & {digit.tobytes() for digit in validation[0]}


def test_labels_and_boxes_belong_to_the_digits_of_the_split(monkeypatch):
    block, stroke = np.ones((8, 8)), np.zeros((8, 8))
    stroke[:, 3:5] = 1
    splits = []

    def source_digits(split):
        splits.append(split)
        return np.stack([block, stroke]), np.array([4, 7])

    monkeypatch.setattr(digit_scenes, "source_digits", source_digits)
    _, labels, (_, left, _, right) = [
        part.T for part in digit_scenes.make_scenes(40, split="validation")
    ]
    assert splits == ["validation"]
    assert set(labels) == {4, 7}
    np.testing.assert_array_equal(right - left >= 24, labels == 4)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split='test'"):
        digit_scenes.make_scenes(1, split="test")
