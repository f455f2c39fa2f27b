"""Taking part from the page: two browsers train one task together on real data, and use the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.conftest import WIDTHS, OpenPage

pytestmark = pytest.mark.slow

datasets = pytest.importorskip("sklearn.datasets", reason="the real data ships with scikit-learn")
ROUNDS = 3


@pytest.fixture(scope="session")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """The breast cancer data as two CSV files, every other row in each."""
    found = datasets.load_breast_cancer()
    folder = tmp_path_factory.mktemp("data")
    header = ",".join([*found.feature_names, "benign"])
    rows = [
        ",".join([*map(str, row), str(target)]) for row, target in zip(found.data, found.target, strict=True)
    ]
    paths = [folder / "hospital-north.csv", folder / "hospital-south.csv"]
    for index, path in enumerate(paths):
        path.write_text("\n".join([header, *rows[index::2]]) + "\n", "utf-8")
    return paths


def prepared(page: Any, path: Path) -> Any:
    """Choose a file as a person would, and wait until its rows have been read."""
    page.wait_for_selector("text=the server's model so far")
    page.get_by_label("Standardize").check()
    page.get_by_label("A CSV file").set_input_files(path)
    page.wait_for_selector("text=Ready.")
    page.get_by_label("Rounds").fill(str(ROUNDS))
    return page


def test_two_pages_train_a_model_together_and_use_it(
    open_page: OpenPage, halves: Sequence[Path], picture: Callable[[Any, str], None]
) -> None:
    pages = [
        prepared(open_page("/tasks/breast_cancer/join", width), path)
        for width, path in zip(WIDTHS, halves, strict=True)
    ]
    sent: list[bytes] = []
    requests: list[str] = []
    pages[0].on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    pages[0].on("request", lambda request: requests.append(request.url))
    for page in pages:
        page.get_by_role("button", name="Train and contribute").click()
    for page in pages:
        page.wait_for_selector("text=Done. The model can be used below.")

    # What left the page: a hello, and one packed model of 641 parameters a round; nothing else.
    assert [re.findall(rb"ClientConnected|SendPayload", bytes(frame)) for frame in sent] == [
        [b"ClientConnected"], *[[b"SendPayload"]] * ROUNDS,
    ]  # fmt: skip
    assert all(4 * 641 < len(frame) < 4 * 641 + 400 for frame in sent[1:])
    assert requests == []
    counted = pages[0].locator("dt:text-is('Sent') + dd").inner_text()
    assert counted == f"{sum(map(len, sent)) / 1000:.1f} kB"

    for page in pages:
        chart = page.locator("figure", has_text="kept for judging").locator("svg").get_attribute("aria-label")
        assert chart is not None
        assert float(re.findall(r"([\d.]+) %", chart)[0]) > 85

    # A benign tumour, of the first rows of the data set.
    found = datasets.load_breast_cancer()
    benign = found.data[int(found.target.argmax())]
    for index, value in enumerate(benign):
        pages[1].locator(f"#in-{index}").fill(str(value))
    pages[1].get_by_role("button", name="Predict").click()
    pages[1].wait_for_selector("text=benign: yes")
    for page, width in zip(pages, WIDTHS, strict=True):
        picture(page, f"join-{width}")
    task = open_page("/tasks/breast_cancer", color_scheme="dark")
    task.wait_for_selector("figure svg")
    picture(task, "task-1280-dark")
    picture(open_page("/tasks/breast_cancer", WIDTHS[0]), "task-390-light")


def test_figures_go_out_only_if_the_box_says_so(open_page: OpenPage, halves: Sequence[Path]) -> None:
    pages = [prepared(open_page("/tasks/breast_cancer/join"), path) for path in halves]
    sent: list[bytes] = []
    pages[0].on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    pages[0].get_by_label("Also tell how many examples").check()
    for page in pages:
        page.get_by_label("Rounds").fill("1")
        page.get_by_role("button", name="Train and contribute").click()
    pages[0].wait_for_selector("text=Done.")
    assert b"samples" in bytes(sent[1])
    assert b"accuracy" in bytes(sent[1])


def test_a_file_without_the_columns_is_refused_naming_them(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "wrong.csv").write_text("Age,Fare\n1,2\n")
    page = open_page("/tasks/titanic/join")
    page.wait_for_selector("text=the server's model so far")
    page.get_by_label("A CSV file").set_input_files(tmp_path / "wrong.csv")
    page.wait_for_selector("text=The file lacks the columns PassengerId, SibSp, Parch, Pclass, Survived")
    assert page.get_by_role("button", name="Train and contribute").is_disabled()


def test_a_lone_participant_is_told_for_how_many_it_waits_and_can_stop(
    open_page: OpenPage, halves: Sequence[Path]
) -> None:
    page = prepared(open_page("/tasks/breast_cancer/join"), halves[0])
    page.get_by_role("button", name="Train and contribute").click()
    page.wait_for_selector("text=Waiting for more participants: 1 of 2 are here.")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector("text=Stopped.")


def test_images_are_labelled_by_their_names_and_a_picture_is_classified(
    open_page: OpenPage, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    digits = datasets.load_digits()
    paths = []
    for index in range(40):
        path = tmp_path / f"{digits.target[index]}_{index}.png"
        image.fromarray((digits.images[index] * 15).astype("uint8")).save(path)
        paths.append(path)
    (tmp_path / "unlabelled.png").write_bytes(paths[0].read_bytes())
    page = open_page("/tasks/digits/join")
    page.wait_for_selector("text=the server's model so far")
    page.get_by_label("Images whose names").set_input_files([*paths, tmp_path / "unlabelled.png"])
    page.wait_for_selector("text=40 images of 10 labels; 1 file without a label left out (unlabelled.png).")
    page.get_by_label("A picture to classify").set_input_files(paths[0])
    page.wait_for_selector(".answer")
    assert re.fullmatch(r"\d \([\d.]+ %\)", page.locator(".answer").inner_text())
