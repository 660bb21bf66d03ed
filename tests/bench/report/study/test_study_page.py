"""Nothing that a rater gets tells which image is of which run."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from study_support import Study

from bench.core.errors import UserError
from bench.report.study import make as making
from bench.report.study.images import Shown, Subject
from bench.report.study.make import LEAST_SEED, make_study, secret_seed
from bench.report.study.page import page
from bench.report.study.statistics import share

HOSTILE = ('</script><img src="https://evil.example/x.png" onerror="alert(1)">', "{{ 7 * 7 }}", "\u202e\x1b &amp;")


def data_of(page: Path) -> dict[str, Any]:
    """Return the data in a page."""
    found = re.search(r'id="study">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def pictures(study: Study) -> list[bytes]:
    """Return the pictures of a page's pairs, in its order."""
    return [base64.b64decode(pair["picture"]) for pair in data_of(study.page)["pairs"]]


def test_the_folder_holds_the_page_alone(study: Study) -> None:
    assert [path.name for path in study.folder.iterdir()] == ["study.html"]
    assert study.key_path.parent != study.folder


def test_the_page_has_nothing_of_the_key_but_names_prompts_and_its_digest(study: Study) -> None:
    text, key = study.page.read_text("utf-8"), study.key
    for subject in (key.a, key.b):
        secrets = subject.model_dump(mode="json")
        assert not [name for name, value in secrets.items() if isinstance(value, str) and value in text]
    for secret in (key.seed, key.noise, key.protocol_sha256, key.created, key.task, "dmd2", "teacher"):
        assert secret not in text
    data = data_of(study.page)
    assert data["study"] == key.digest()
    assert set(data["pairs"][0]) == {"name", "prompt", "picture"}


def test_a_pair_is_one_picture_without_metadata(study: Study) -> None:
    """So there are no two files whose sizes, names or times could be compared."""
    for picture in pictures(study):
        image = Image.open(io.BytesIO(picture))
        assert image.size == (32, 16)
        assert image.info == {}
        assert len(picture) == len(pictures(study)[0])
        assert not re.findall(rb"tEXt|iTXt|zTXt|tIME|eXIf|iCCP", picture)


def test_the_halves_are_the_runs_images_as_the_key_says(study: Study) -> None:
    """Run A's images are noisy and run B's are of one colour, so the halves can be told apart here."""
    for pair, picture in zip(study.key.pairs, pictures(study), strict=True):
        halves = np.split(np.asarray(Image.open(io.BytesIO(picture))), 2, axis=1)
        noisy = ["first", "second"][int(np.ptp(halves[1], axis=(0, 1)).max() > 0)]
        assert noisy == pair.a


def test_with_runs_and_sides_swapped_the_page_is_the_same_to_the_byte(
    make: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page of A against B is also one of B against A, so it cannot say which is A."""
    study, drawn = make(pairs=24, out="one"), making._drawn
    monkeypatch.setattr(
        making, "_drawn", lambda seed, what, place: f"{int(drawn(seed, what, place), 16) ^ (what == 'side'):064x}"
    )
    other = make(pairs=24, out="other", swapped=True)
    assert [pair.a for pair in study.key.pairs] != [pair.a for pair in other.key.pairs]
    pages = [one.page.read_text("utf-8").replace(one.key.digest(), "") for one in (study, other)]
    assert pages[0] == pages[1]


def test_sides_and_order_cannot_be_told_from_what_the_page_shows(make: Callable[..., Study]) -> None:
    """Place, name and sample of a pair, split at the median, agree with its side as often as a coin does."""
    study = make(pairs=256, side=8)
    first = np.array([pair.a == "first" for pair in study.key.pairs])
    seen = {
        "place": range(256),
        "name": [int(pair.name[-8:], 16) for pair in study.key.pairs],
        "sample": [pair.sample for pair in study.key.pairs],
    }
    assert (share(int(first.sum()), 256).p or 0) > 0.01
    for what, values in seen.items():
        high = np.argsort(np.argsort(list(values))) >= 128
        assert (share(int((high == first).sum()), 256).p or 0) > 0.01, what
    names = [pair.name for pair in study.key.pairs]
    assert all(one < other for one, other in pairwise(names)), "the page's order is that of random names"


def test_a_seed_repeats_the_page_and_another_one_does_not(make: Callable[..., Study]) -> None:
    first, again, other = (make(seed=seed, out=out) for seed, out in ((2**99, "a"), (2**99, "b"), (2**98, "c")))
    assert pictures(first) == pictures(again)
    assert [pair.a for pair in first.key.pairs] == [pair.a for pair in again.key.pairs]
    assert {pair.name for pair in first.key.pairs}.isdisjoint(pair.name for pair in other.key.pairs)


@pytest.mark.parametrize("seed", [0, 42, LEAST_SEED - 1, 2**128])
def test_a_seed_that_can_be_guessed_is_refused(seed: int) -> None:
    with pytest.raises(UserError, match="could be guessed"):
        secret_seed(seed)


def test_a_study_is_never_overwritten(make: Callable[..., Study]) -> None:
    make()
    with pytest.raises(UserError, match=r"exists, and is not overwritten; fix: --out another folder$"):
        make()


def test_of_several_commands_at_once_one_makes_the_study(
    make: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one's key or page must not take the place of the first one's, which it does not fit."""

    def slow(*given: Any) -> str:
        time.sleep(0.1)  # long enough for all to be here, if nothing keeps them away
        return page(*given)

    monkeypatch.setattr(making, "page", slow)
    with ThreadPoolExecutor(4) as pool:
        tried = [pool.submit(make) for _ in range(4)]
    refused = [str(one.exception()) for one in tried if one.exception()]
    assert len(refused) == 3 and all("exists, and is not overwritten" in one for one in refused)
    (study,) = (one.result() for one in tried if not one.exception())
    assert len(study.key.pairs) == 8  # reading a key checks the page that lies beside it


def test_a_key_without_its_page_is_kept_and_the_user_decides(make: Callable[..., Study]) -> None:
    """A kill before the page took its place leaves the key alone; so does a user who moved the page elsewhere."""
    study = make()
    shutil.rmtree(study.folder)
    said = rf"--out another folder, or, if its making was cut short, mv {study.key_path} {study.key_path}.aside$"
    with pytest.raises(UserError, match=said):
        make()
    study.key_path.unlink()
    make()


def test_other_noise_is_refused(subjects: list[Subject], tmp_path: Path) -> None:
    black = np.zeros((2, 8, 8, 1), np.uint8)
    shown = [Shown(black, ("a", "b"), (0, 1), noise) for noise in ("one", "other")]
    with pytest.raises(UserError, match="have other noise or prompts"):
        make_study(tmp_path / "out", subjects, shown, "students", LEAST_SEED)


def test_hostile_prompts_stay_text(make: Callable[..., Study]) -> None:
    study = make(pairs=3, prompts=HOSTILE)
    text = study.page.read_text("utf-8")
    assert "<img" not in text and text.count("</script>") == 2
    assert {pair["prompt"] for pair in data_of(study.page)["pairs"]} == set(HOSTILE)


def test_without_prompts_only_the_first_question_is_asked(make: Callable[..., Study]) -> None:
    study = make(prompts=("",) * 8)
    assert study.key.questions == ["preference"]
    assert "text prompt" not in study.page.read_text("utf-8")


def test_large_images_are_compressed_alike(make: Callable[..., Study]) -> None:
    study = make(pairs=2, side=512)
    assert study.key.encoding == "WebP, quality 95"
    assert {Image.open(io.BytesIO(one)).format for one in pictures(study)} == {"WEBP"}
