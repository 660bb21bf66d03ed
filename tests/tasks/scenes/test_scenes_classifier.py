"""The classifier: items are found and read at their places; its loss and its distance, written out."""

import itertools
from dataclasses import replace

import torch
from torch.nn import functional as F

from bench.core.progress import SilentProgress
from bench.task.images import to_unit_range
from tasks.micro.task import ClassifierRecipe
from tasks.scenes.classifier import (
    ITEM_ANSWERS,
    SCENE_ANSWERS,
    SceneClassifier,
    agreement,
    answers_loss,
    item_crops,
    most_probable,
    train_scene_classifier,
)
from tasks.scenes.data import COLOURS, ITEM
from tasks.scenes.task import SceneClassifierRecipe

SMALL = ClassifierRecipe(epochs=2, width=4, features=8, batch_size=50)
RECIPE = SceneClassifierRecipe(scene=SMALL, item=SMALL)
SHAPE = (3, 16, 16)


def random_images(count: int) -> torch.Tensor:
    return torch.randint(256, (count, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_items_are_found_at_any_height_in_order_of_their_places() -> None:
    scenes, expected = torch.zeros(9, *SHAPE, dtype=torch.uint8), random_images(9)[..., :ITEM, :]
    expected = expected.clamp(min=1)
    for top, (scene, both) in enumerate(zip(scenes, expected, strict=True)):
        scene[:, top : top + ITEM, :ITEM] = both[..., :ITEM]
        scene[:, 8 - top : 16 - top, ITEM:] = both[..., ITEM:]
    found = item_crops(scenes)
    assert torch.equal(found[0::2], expected[..., :ITEM])
    assert torch.equal(found[1::2], expected[..., ITEM:])


def test_of_equally_light_places_the_upper_is_taken() -> None:
    scene = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    scene[0, :, 9:12, :ITEM] = 200  # three rows: many windows hold them all
    left, right = item_crops(scene)
    assert left[:, 5:8].eq(200).all() and not left[:, :5].any()
    assert not right.any()


def test_the_loss_is_the_sum_of_the_questions_cross_entropies() -> None:
    logits = torch.randn(5, sum(SCENE_ANSWERS))
    answers = torch.stack([torch.randint(size, (5,)) for size in SCENE_ANSWERS], 1)
    starts = [0, *itertools.accumulate(SCENE_ANSWERS)]
    expected = sum(
        F.cross_entropy(logits[:, start : start + size], answers[:, i])
        for i, (start, size) in enumerate(zip(starts, SCENE_ANSWERS, strict=False))
    )
    torch.testing.assert_close(answers_loss(SCENE_ANSWERS)(logits, answers), expected)
    truth = torch.cat([F.one_hot(answers[:, i], size) for i, size in enumerate(SCENE_ANSWERS)], 1)
    assert torch.equal(most_probable(truth.float(), SCENE_ANSWERS), answers)


def test_agreement_is_of_all_of_kinds_and_of_colours_at_their_places() -> None:
    truth = torch.tensor([[1, 2, 3, 4]]).expand(4, 4)
    read = torch.tensor([[1, 2, 3, 4], [1, 0, 3, 4], [3, 2, 1, 4], [3, 4, 1, 2]])
    found = {name: values.tolist() for name, values in agreement(read, truth).items()}
    assert found == {
        "alignment": [True, False, False, False],
        "kinds": [True, True, False, False],
        "colours": [True, False, True, False],
    }


def test_the_distance_is_lpips_with_weights_of_one() -> None:
    classifier, images = SceneClassifier(RECIPE, SHAPE).eval(), random_images(6)
    first, second, third = (classifier.scene.trunk[: 2 * n](to_unit_range(images)) for n in (1, 2, 3))

    def distance(i: int, j: int) -> torch.Tensor:
        maps = [layer / layer.norm(dim=1, keepdim=True) for layer in (first, second, third)]
        return torch.stack([(m[i] - m[j]).square().sum(0).mean() for m in maps]).sum()

    pairs = [(i, j) for i, j in itertools.combinations(range(6), 2) if i // 3 == j // 3]
    expected = torch.stack([distance(i, j) for i, j in pairs]).reshape(2, 3).mean(1)
    torch.testing.assert_close(classifier.diversity(images, 3), expected)
    same = images[:1].expand(2, -1, -1, -1)
    assert classifier.diversity(same, 2).tolist() == [0.0]


def test_a_classifier_learns_to_read_colours_and_is_the_same_each_time() -> None:
    generator = torch.Generator().manual_seed(0)
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)
    truths = torch.stack([torch.randint(n, (300,), generator=generator) for n in SCENE_ANSWERS], 1)
    images = torch.zeros(300, *SHAPE, dtype=torch.uint8)
    for place in range(2):
        colour = palette[truths[:, 2 * place + 1]]
        images[:, :, 4:12, place * ITEM : (place + 1) * ITEM] = colour[:, :, None, None]
    recipe = replace(RECIPE, scene=replace(SMALL, epochs=1), item=replace(SMALL, epochs=10))
    classifier, again = (train_scene_classifier(images, truths, recipe, SHAPE, SilentProgress()) for _ in range(2))
    features, read = classifier.read_items(images)
    assert features.shape == (600, 8) and classifier.scene_features(images).shape == (300, 8)
    assert agreement(read, truths)["colours"].float().mean() > 0.9
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in classifier.state_dict().items())
    assert sum(ITEM_ANSWERS) == 16
